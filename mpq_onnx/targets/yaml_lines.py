"""YAML as plain lists and tables, with the line that each part stands on."""

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from mpq_onnx.errors import TargetError, one_line

Path = tuple[str | int, ...]
"""Keys and places in lists, from the top."""
LONGEST_TEXT = 1_000_000
"""Characters of a file."""
LONGEST_NUMBER = 40
DEEPEST = 20


@dataclass
class Lined:
    """A file's content."""

    content: Any
    lines: dict[Path, int] = field(default_factory=dict)
    """Of keys, and of what stands in lists; from 1."""

    def line(self, path: Path) -> int:
        """The line of the innermost part on the way to `path` that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_lined(text: str, where: str) -> Lined:
    """Read YAML; names with - or _ are one.

    Raises:
        TargetError: not YAML, a name twice in a table, an alias, or more lists in lists than a target has.
    """
    if len(text) > LONGEST_TEXT:
        raise TargetError(f"{where}: longer than {LONGEST_TEXT:,} characters, which no target is")
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise TargetError(
                    f"{_place(where, event.start_mark)}: lists in lists, more than {DEEPEST} deep"
                )
            if isinstance(event, yaml.AliasEvent):
                raise TargetError(
                    f"{_place(where, event.start_mark)}: aliases (*{event.anchor}) are not taken; write it out"
                )
        root = yaml.compose(text, yaml.SafeLoader)
        found = Lined(None)
        found.content = None if root is None else _plain(root, (), found, where)
    except yaml.MarkedYAMLError as error:
        place = _place(where, error.problem_mark or error.context_mark)
        raise TargetError(f"{place}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise TargetError(f"{where}: not YAML: {one_line(error)}") from error
    return found


def _place(where: str, mark: Any) -> str:
    return where if mark is None else f"{where}, line {mark.line + 1}"


def _plain(node: yaml.Node, path: Path, found: Lined, where: str) -> Any:
    found.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        table: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise TargetError(f"{where}, line {line}: a name must be a text")
            name = key.value.replace("-", "_")
            if name in table:
                raise TargetError(f"{where}, line {line}: {key.value} stands twice in one table")
            inside = (*path, name)
            found.lines[inside] = line
            table[name] = _plain(value, inside, found, where)
        return table
    if isinstance(node, yaml.SequenceNode):
        return [_plain(value, (*path, place), found, where) for place, value in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    """A text, a number, true, false or nothing; dates, infinities and the like are taken as the texts that they are."""
    if node.tag == "tag:yaml.org,2002:null":
        return None
    if node.tag == "tag:yaml.org,2002:bool":
        return yaml.safe_load(node.value)
    if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(node.value) < LONGEST_NUMBER:
        number = yaml.safe_load(node.value)
        if isinstance(number, int | float) and math.isfinite(number):
            return number
    return node.value
