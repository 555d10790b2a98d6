"""Whether a worker has the software that the caller has: other versions would compute something else."""

import hashlib
import importlib.metadata
import pkgutil
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpq_onnx

PACKAGES = ("torch", "numpy", "onnx", "onnx-ir", "scipy", "distributed")
ATTRIBUTES = {"mpq_onnx": "mpq_onnx:__version__", "onnxruntime": "onnxruntime:__version__"}
"""Packages that may be there without being installed, or under several names."""

Ask = Callable[..., Any]
"""Calls a function of the standard library with arguments, on the worker: nothing else is known to be there."""


def sources_digest() -> str:
    """Of the code of this package: a checkout may differ under the same version."""
    root = Path(mpq_onnx.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".yaml", ".j2")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def difference(ask: Ask) -> str | None:
    """The first thing that the worker has otherwise; None where all is the same."""
    own, other = (platform.python_version_tuple(), ask(platform.python_version_tuple))
    if tuple(own[:2]) != tuple(other[:2]):
        return f"Python {'.'.join(other[:2])}, and {'.'.join(own[:2])} here"
    for name, attribute in ATTRIBUTES.items():
        text = _compared(
            name, str(pkgutil.resolve_name(attribute)), _or_none(ask, pkgutil.resolve_name, attribute)
        )
        if text is not None:
            return text
    for name in PACKAGES:
        mine = _or_none(importlib.metadata.version, name)
        text = _compared(name, mine, _or_none(ask, importlib.metadata.version, name))
        if text is not None:
            return text
    if _or_none(ask, sources_digest) != sources_digest():
        return f"other code of mpq_onnx {mpq_onnx.__version__} than here"
    return None


def _or_none(call: Callable[..., Any], *arguments: Any) -> str | None:
    """Whatever keeps a package from being found or loaded makes it missing."""
    try:
        return str(call(*arguments))
    except (ImportError, AttributeError):  # PackageNotFoundError is an ImportError
        return None


def _compared(name: str, own: str | None, found: str | None) -> str | None:
    if own == found:
        return None
    return f"no {name}" if found is None else f"{name} {found}, and {own or 'none'} here"
