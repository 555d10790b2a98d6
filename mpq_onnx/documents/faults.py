"""What is wrong with a JSON document, in the words of somebody who edits it by hand."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsonschema.exceptions import ValidationError

LONGEST_VALUE = 60
"""Characters of a value that are shown."""
LONGEST_MESSAGE = 200
TYPES = {
    "object": "an object {...}",
    "array": "a list [...]",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def fault_text(problem: ValidationError, document: Any) -> str:
    """Where in the document it is and what, such as `nodes/3/weight_bits (node stem): 17 must be at most 16`."""
    problem = _whole(problem)
    path = list(problem.absolute_path)
    place = "/".join(map(str, path)) or "the top level"
    if len(path) > 1 and path[0] == "nodes":
        entry = document["nodes"][path[1]]
        name = entry.get("node") if isinstance(entry, Mapping) else None
        place += f" (node {name})" if isinstance(name, str) else ""
    return f"{place}: {_words(problem)}"


def fault_path(problem: ValidationError) -> tuple[str | int, ...]:
    """Where it is: keys and places in lists, from the top; down to the first name that is unknown."""
    problem = _whole(problem)
    unknown = [
        name
        for each in (problem, *(problem.context or ()))
        if each.validator == "additionalProperties" and each.absolute_path == problem.absolute_path
        for name in _unknown_names(each)
    ]
    return (*problem.absolute_path, *unknown[:1])


def _whole(problem: ValidationError) -> ValidationError:
    """The alternatives that a value fits none of, instead of one of them."""
    parent = problem.parent
    while parent is not None and parent.absolute_path == problem.absolute_path:
        problem, parent = parent, parent.parent
    return problem


def _words(problem: ValidationError) -> str:
    say = WORDS.get(str(problem.validator))
    return _shortened(problem.message, LONGEST_MESSAGE) if say is None else say(problem)


def _required(problem: ValidationError) -> str:
    missing = [name for name in problem.validator_value if name not in problem.instance]
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} required, and missing"


def _unknown(problem: ValidationError) -> str:
    return f"unknown {', '.join(_unknown_names(problem))}; known are {', '.join(problem.schema.get('properties', {}))}"


def _unknown_names(problem: ValidationError) -> list[str]:
    return [name for name in problem.instance if name not in problem.schema.get("properties", {})]


def _type(problem: ValidationError) -> str:
    return f"{_value(problem)} must be {_types(problem.validator_value)}"


def _alternatives(problem: ValidationError) -> str:
    """What keeps the value from the alternatives of its type; the types, where it has none of them."""
    own = [each for each in problem.context or () if each.absolute_path == problem.absolute_path]
    near = [each for each in own if each.validator != "type"]
    if near:
        return ", or ".join(dict.fromkeys(map(_words, near)))
    names = [name for each in own for name in _listed(each.validator_value)]
    if not names:
        return f"{_value(problem)} is of no allowed form"
    return f"{_value(problem)} must be {_types(names)}"


def _types(names: str | Sequence[str]) -> str:
    return " or ".join(TYPES[name] for name in dict.fromkeys(_listed(names)))


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _value(problem: ValidationError) -> str:
    return _shortened(json.dumps(problem.instance, ensure_ascii=False), LONGEST_VALUE)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "..."


WORDS: dict[str, Callable[[ValidationError], str]] = {
    "required": _required,
    "additionalProperties": _unknown,
    "type": _type,
    "anyOf": _alternatives,
    "oneOf": _alternatives,
    "enum": lambda problem: (
        f"{_value(problem)}: choose one of {', '.join(map(str, problem.validator_value))}"
    ),
    "const": lambda problem: f"{_value(problem)} must be {json.dumps(problem.validator_value)}",
    "minimum": lambda problem: f"{_value(problem)} must be at least {problem.validator_value}",
    "maximum": lambda problem: f"{_value(problem)} must be at most {problem.validator_value}",
    "exclusiveMinimum": lambda problem: f"{_value(problem)} must be above {problem.validator_value}",
    "minItems": lambda problem: f"the list must have at least {problem.validator_value} entries",
    "minLength": lambda problem: f"{_value(problem)} must have at least {problem.validator_value} characters",
}
"""By the schema's keyword that is broken; others are said in jsonschema's words."""
