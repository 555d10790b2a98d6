"""The files and folders that a data spec names, changed for where the spec is written down or read."""

from collections.abc import Callable
from pathlib import Path

from mpq_onnx.datasets.spec import names_file, spec_parts

OWN = frozenset({"digits", "random", "python"})
"""Kinds whose path is none, or no file."""


def name_alone(text: str) -> str:
    """A path without its folders."""
    return Path(text).name or text


def spec_by_name(spec: str) -> str:
    """A data spec whose files have no folders."""
    return with_paths(spec, name_alone)


def with_paths(text: str, change: Callable[[str], str]) -> str:
    """The spec with every file or folder in it as `change` makes it; all else stays as it is."""
    kind, path, query = spec_parts(text)
    if kind in OWN:
        return text
    head = f"{kind}:" if kind else ""
    options = [_changed(kind, each, change) for each in query.split("&")] if query else []
    return f"{head}{change(path) if path else ''}{'?' if options else ''}{'&'.join(options)}"


def _changed(kind: str, option: str, change: Callable[[str], str]) -> str:
    name, equals, value = option.partition("=")
    return f"{name}{equals}{change(value)}" if value and names_file(kind, name) else option
