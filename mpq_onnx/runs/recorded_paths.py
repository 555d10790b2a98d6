"""Paths in the files of a result: never absolute ones, which say where somebody keeps things and mean nothing elsewhere.

What is handed on (the model's metadata, its card) has names alone. What is read again beside other files (config.yaml, the
request of a sweep) has paths from its own folder on, `./` or `../` first; read_configuration takes them from there.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpq_onnx.datasets.spec_paths import name_alone, with_paths

SPECS = frozenset({"data", "validation", "test"})
FILES = frozenset({"model", "calibration", "costs"})
NAMES_OR_FILES = frozenset({"target"})
HERE = (".", "..")
LISTS = frozenset({"cases"})
"""Options that hold tables of options."""


def recorded(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Options by name with every path as a file in `folder` records it."""
    return _changed(options, lambda path: _from(path, folder))


def found_from(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The options of a file in `folder`, with the paths that begin with ./ or ../ taken from there."""
    return _changed(options, lambda path: _at(path, folder))


def _changed(options: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    return {name: _value(name.replace("-", "_"), value, change) for name, value in options.items()}


def _value(name: str, value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, list | tuple):
        if name in LISTS:
            return [_changed(each, change) if isinstance(each, Mapping) else each for each in value]
        return [_value(name, each, change) for each in value] if name in {*SPECS, *FILES, "target"} else value
    if not isinstance(value, str):
        return value
    if name in SPECS:
        return with_paths(value, change)
    is_path = name in FILES or (name in NAMES_OR_FILES and Path(value).suffix)
    return change(value) if is_path else value


def _from(path: str, folder: Path) -> str:
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # on another drive
        return name_alone(path)
    relative = Path(relative).as_posix()
    return relative if relative.split("/")[0] in HERE else f"./{relative}"


def _at(path: str, folder: Path) -> str:
    """`path` from the current folder on."""
    return (
        os.path.normpath(folder / path) if Path(path).parts[:1] == ("..",) or path.startswith("./") else path
    )
