"""python:package.module:name - a Python object that the user names on the command line."""

import importlib
import sys
from pathlib import Path
from typing import Any

from mpq_onnx.errors import UsageError


def import_object(path: str) -> Any:
    """The object at `package.module:name`; the current folder is searched as by `python -m`.

    Raises:
        UsageError: no such module or name.
    """
    module_name, _, name = path.partition(":")
    if not name:
        raise UsageError(f"python:{path}: write python:package.module:factory")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"python:{path}: {error}") from error
