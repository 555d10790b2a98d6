"""Configuration files: options of a command by name, in YAML, TOML or JSON; names with - or _ alike."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mpq_onnx.errors import UsageError, one_line
from mpq_onnx.runs.recorded_paths import found_from

if sys.version_info >= (3, 11):
    TOML_MODULE = "tomllib"
else:
    TOML_MODULE = "tomli"


def _read_toml(text: str) -> Any:
    return importlib.import_module(TOML_MODULE).loads(text)


READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".toml": _read_toml,
    ".json": json.loads,
}


def read_configuration(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a file, by name with underscores; paths that begin with ./ or ../ are taken from its folder.

    Raises:
        UsageError: missing, of another format, or not a table of options.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"--config {path}: its name must end in one of {', '.join(READERS)}")
    try:
        found = reader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:  # all three formats' errors, and bytes that are no text
        raise UsageError(f"--config {path}: {one_line(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UsageError(f"--config {path}: write one option a line, such as weight-bits: 4")
    return {key.replace("-", "_"): value for key, value in found_from(found, path.parent).items()}


def check_names(given: Collection[str], known: Collection[str], where: str) -> None:
    """Raise UsageError for the first of `given` that is not `known`; says what is near to it."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {near[0].replace('_', '-')}?" if near else ""
            raise UsageError(f"{where}: there is no option {name.replace('_', '-')}{hint}")


def configuration_text(options: Mapping[str, Any]) -> str:
    """The options that are not None as YAML, ready to be given as --config again."""
    plain = {name.replace("_", "-"): _plain(value) for name, value in options.items() if value is not None}
    return yaml.safe_dump(plain, sort_keys=False)


def _plain(value: Any) -> Any:
    """Lists for tuples, and 4 for 4.0: one text for one request."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
