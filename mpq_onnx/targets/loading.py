"""Target files read: those shipped by name, others by path, those that an allocation holds from their text."""

import dataclasses
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS
from mpq_onnx.documents.target_record import TargetRecord
from mpq_onnx.errors import PluginError, TargetError, UsageError, first_line
from mpq_onnx.files import here
from mpq_onnx.registries import DEVICE_TARGETS
from mpq_onnx.targets.description import FLOAT_WIDTH, PAIR, Target, read_pair
from mpq_onnx.targets.yaml_lines import Lined, read_lined

SUFFIXES = (".yaml", ".yml")
SIDES = ("weights", "inputs", "outputs")
LISTS = ("operators", "names", "place", "pairs")
NUMBERS = ("embedding_bits",)
"""Options that are no names."""
OF_FORMATS = ("bits", "scheme", "scales")


def shipped_texts() -> dict[str, str]:
    """Texts of the targets that come with the package, by name."""
    folder = resources.files("mpq_onnx.targets") / "shipped"
    files = sorted(
        (each for each in folder.iterdir() if each.name.endswith(SUFFIXES)), key=lambda each: each.name
    )
    return {each.name.rpartition(".")[0]: each.read_text(encoding="utf-8") for each in files}


def load_target(name: str | os.PathLike[str]) -> Target:
    """The shipped target of that name, another package's, or the one in the file of that path.

    Raises:
        UsageError: neither.
        TargetError: the file is no target.
    """
    shipped = shipped_texts()
    if name in shipped:
        return parse_target(shipped[name], f"{name}.yaml")
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"target {name!r}: give a name or a file.yaml")
    if name in DEVICE_TARGETS:
        return parse_target(_text_of(DEVICE_TARGETS[str(name)], str(name)), f"{name}.yaml")
    path = here(name)
    if path.suffix.lower() not in SUFFIXES and not path.is_file():
        known = ", ".join((*shipped, *DEVICE_TARGETS))
        raise UsageError(f"target {name}: choose one of {known}, or give a file.yaml")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise TargetError(f"{name}: cannot be read as a target: {reason}") from error
    return parse_target(text, str(name))


def _text_of(given: Any, name: str) -> str:
    """What a package describes a device by: a text of several lines, or the path of a file (or a resource) with it."""
    if isinstance(given, str) and "\n" in given:
        return given
    try:
        place = Path(given) if isinstance(given, str) else given
        return str(place.read_text(encoding="utf-8"))
    except (OSError, AttributeError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise PluginError(
            f"plug-in {name} (mpq_onnx.targets) is neither the text of a target file nor its path: {first_line(error)}"
        ) from error


def recorded_target(record: TargetRecord | None) -> Target | None:
    """The target that an allocation was made for; lines in errors are those of its file."""
    return None if record is None else parse_target(record.text, f"target {record.name}")


def parse_target(text: str, where: str) -> Target:
    """The target in a YAML text; `where` names its file in errors.

    Raises:
        TargetError: not a target; the message names the line.
    """
    lined = read_lined(text, where)
    content = _with_lists(lined.content)
    fault = Target.first_fault(content)
    if fault is not None:
        raise TargetError(
            f"{where}, line {lined.line(fault.path)}: at {fault.text}; see {Target.KIND.page} for the format"
        )
    found = Target.from_json(content, where)
    target = dataclasses.replace(found, path=where, text=text, lines=dict(lined.lines))
    _check_meaning(target, lined)
    return target


def _with_lists(content: Any) -> Any:
    """One value stands for a list of one, and widths for a format of no more than widths."""
    if not isinstance(content, dict):
        return content
    found = dict(content)
    if isinstance(found.get("options"), dict):
        found["options"] = {
            key: _listed(value) if key in NUMBERS else _texts(value)
            for key, value in found["options"].items()
        }
    if isinstance(found.get("analog"), dict):
        found["analog"] = {key: _listed(value) for key, value in found["analog"].items()}
    if "hand_off" in found:
        found["hand_off"] = _listed(found["hand_off"])
    if isinstance(found.get("rules"), list):
        found["rules"] = [_rule(rule) for rule in found["rules"]]
    return found


def _rule(rule: Any) -> Any:
    if not isinstance(rule, dict):
        return rule
    return {
        key: _format(value) if key in SIDES else _listed(value) if key in LISTS else value
        for key, value in rule.items()
    }


def _format(value: Any) -> Any:
    if not isinstance(value, dict):
        return {"bits": _listed(value)}
    return {key: _listed(part) if key in OF_FORMATS else part for key, part in value.items()}


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


def _texts(value: Any) -> Any:
    """Names, of which some are numbers: first-last 8."""
    values = _listed(value)
    if not isinstance(values, list):
        return values
    return [str(each) if type(each) is int else each for each in values]


def _check_meaning(target: Target, lined: Lined) -> None:
    """Raise TargetError for what has the right form and says nothing sensible."""

    def refuse(reason: str, *path: str | int) -> None:
        raise TargetError(f"{target.path}, line {lined.line(path)}: {reason}")

    for place, rule in enumerate(target.rules):
        said: Mapping[str, Any] = {name: getattr(rule, name) for name in (*SIDES, "pairs")}
        if all(each is None for each in said.values()):
            refuse("a rule must say something of weights, inputs, outputs or pairs", "rules", place)
        for number, pair in enumerate(rule.pairs or ()):
            if PAIR.fullmatch(pair) is None or any(
                MAXIMUM_BITS < width < FLOAT_WIDTH for width in read_pair(pair)
            ):
                refuse(
                    f"{pair}: write widths that go together as W4A8, up to {MAXIMUM_BITS}",
                    "rules",
                    place,
                    "pairs",
                    number,
                )
        for side in ("inputs", "outputs"):
            statement = target.said(place, side, "bits")
            if statement is not None and any(width < 1 for width in statement.values):
                refuse(f"{side} have 1 bit or more", "rules", place, side, "bits")
