"""Quantization cards written out: as JSON, as Markdown, and the fields in which two of them differ."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mpq_onnx.files import write_text

UNKNOWN = "unknown"
NONE = "none"
ABSENT = "-"
"""Of a field that the other of two cards has alone."""
SILENT = frozenset({UNKNOWN, NONE, ABSENT})
"""Texts that do not contradict each other."""
CARD_FILES = ("card.json", "card.md")

Card = dict[str, dict[str, Any]]
"""Section -> field -> value (text, number, or a table of them)."""


def card_json(card: Card) -> str:
    """The card as a JSON document."""
    return json.dumps(card, indent=1, default=float) + "\n"


def card_markdown(card: Card, title: str = "Quantization card") -> str:
    """The card as Markdown, a table a section."""
    parts = [f"# {title}\n"]
    for section, fields in card.items():
        rows = [[name, field_text(value)] for name, value in fields.items()]
        parts.append(f"## {section.capitalize()}\n")
        parts.append(tabulate(rows, ["", ""], tablefmt="github", disable_numparse=True) + "\n")
    return "\n".join(parts)


def differences(first: Card, second: Card) -> list[tuple[str, str, str, str]]:
    """(section, field, first's, second's) wherever two cards differ in what at least one of them says.

    A field that one card has not is ABSENT there, and UNKNOWN where that card knows nothing of the whole section.
    """
    found = []
    for section in dict.fromkeys([*first, *second]):
        left, right = first.get(section, {}), second.get(section, {})
        for name in dict.fromkeys([*left, *right]):
            values = _stated(left, name), _stated(right, name)
            if values[0] != values[1] and not set(values) <= SILENT:
                found.append((section, name, *values))
    return found


def _stated(section: Mapping[str, Any], name: str) -> str:
    if name in section:
        return field_text(section[name])
    nothing_known = section and all(value == UNKNOWN for value in section.values())
    return UNKNOWN if nothing_known else ABSENT


def field_text(value: Any) -> str:
    """A value as one cell."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {field_text(each)}" for name, each in value.items())
    return str(value).replace("|", "\\|")


def write_card(card: Card, folder: Path, prefix: str = "") -> None:
    """Write card.json and card.md (after `prefix`) into `folder`."""
    for name, text in zip(CARD_FILES, (card_json(card), card_markdown(card)), strict=True):
        write_text(folder / f"{prefix}{name}", text)
