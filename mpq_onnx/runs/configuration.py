"""Configuration files: options of a command by name, in YAML, TOML or JSON; names with - or _ alike."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
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


class _YamlLoader(yaml.SafeLoader):
    """Refuses a name that stands twice in a table; YAML's own takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader's."""
        _check_once([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        return super().construct_mapping(node, deep)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _YamlLoader)


def _read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table)


def _table(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    _check_once([name for name, _ in pairs])
    return dict(pairs)


def _check_once(names: Sequence[str]) -> None:
    """Raise ValueError for a name that stands there twice; TOML's reader refuses that itself."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f"{twice} stands there twice; keep one")


READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".toml": _read_toml,
    ".json": _read_json,
}


def read_configuration(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a file, by name with underscores; paths that begin with ./ or ../ are taken from its folder.

    Raises:
        UsageError: missing, of another format, not a table of options, or one option stands there twice.
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
    return with_underscores(found_from(found, path.parent), f"--config {path}")


def with_underscores(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options by name with underscores; raises UsageError for one that stands there in both spellings."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        key = name.replace("-", "_")
        if key in found:
            raise UsageError(f"{where}: {key.replace('_', '-')} stands there as {key} too; keep one")
        found[key] = value
    return found


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
