"""The text form of a data source: kind:path?key=value&key=value, or the path alone where it tells the kind."""

import dataclasses
import os
import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from mpq_onnx.datasets.kinds import kind_of
from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.files import here

KIND = re.compile("[a-z][a-z0-9-]*")
ALONE = ("digits", "random", "dlrm")
"""Kinds that need no path."""


@dataclass
class DataSpec:
    """A parsed data spec. Options are taken one by one; what nobody took is refused."""

    text: str
    kind: str
    path: str
    options: dict[str, str]
    taken: set[str] = field(default_factory=set)

    def option(self, name: str, default: str | None = None) -> str | None:
        self.taken.add(name)
        return self.options.get(name, default)

    @overload
    def integer(self, name: str, default: int, least: int | None = None) -> int: ...
    @overload
    def integer(self, name: str, default: None, least: int | None = None) -> int | None: ...
    def integer(self, name: str, default: int | None, least: int | None = None) -> int | None:
        """The value of an option that is a whole number.

        Raises:
            DataError: it is none.
            UsageError: it is below `least`.
        """
        value = self.option(name)
        if value is None:
            return default
        try:
            number = int(value)
        except ValueError:
            raise DataError(f"data spec {self.text}: {name}={value} is not a whole number") from None
        if least is not None and number < least:
            raise UsageError(f"data spec {self.text}: {name}={value}: must be at least {least}")
        return number

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """The value of an option that has a few.

        Raises:
            DataError: it has another.
        """
        value = self.option(name, default) or default
        if value not in choices:
            raise DataError(f"data spec {self.text}: {name}={value}; choose one of {', '.join(choices)}")
        return value

    def refuse_unused(self) -> None:
        """Raise DataError when an option was given that its kind does not know."""
        unknown = sorted(set(self.options) - self.taken)
        if unknown:
            raise DataError(
                f"data spec {self.text}: unknown option {unknown[0]}; known: {', '.join(sorted(self.taken))}"
            )


def spec_parts(text: str) -> tuple[str, str, str]:
    """(kind, path, query) of a data spec; the kind is empty where a path stands alone (see kinds.py)."""
    where, _, query = text.partition("?")
    kind, colon, path = where.partition(":")
    is_file = os.path.exists(where) and not os.path.exists(path)  # noqa: PTH110 - any text, however long
    if KIND.fullmatch(kind) and (kind in ALONE or (colon and not is_file)):
        return kind, path, query
    return "", where, query


def parse_spec(text: str) -> DataSpec:
    """Split a data spec into kind, path and options; a path alone has the kind that it is plainly of.

    Raises:
        DataError: an option without a value, or a path of no kind.
    """
    kind, path, query = spec_parts(text)
    options = parse_options(query, text)
    return DataSpec(text, kind or kind_of(_lying_here(path), frozenset(options), text), path, options)


def names_file(kind: str, option: str) -> bool:
    """The option's value is the path of a file or folder.

    Args:
        kind: of the spec; empty where its path stands alone.
    """
    if option == "columns":  # of other kinds, names of columns
        return kind in ("csv", "")
    return option in ("classes", "root")


def lying_here(spec: DataSpec) -> DataSpec:
    """The same data set, read from where its files lie on this machine (see files.here); its text stays the caller's."""
    options = {
        name: _lying_here(value) if names_file(spec.kind, name) else value
        for name, value in spec.options.items()
    }
    return dataclasses.replace(spec, path=_lying_here(spec.path), options=options, taken=set())


def _lying_here(text: str) -> str:
    """A path; whatever is none stays as it is written."""
    found = here(text)
    return text if found == Path(text) else str(found)


def parse_options(query: str, where: str) -> dict[str, str]:
    """The options of a query string; a plus sign stays a plus sign."""
    try:
        pairs = urllib.parse.parse_qsl(
            query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(query)
        )
    except ValueError:
        raise DataError(f"data spec {where}: options must read key=value&key=value") from None
    options = dict(pairs)
    if len(options) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in options if names.count(name) > 1)
        raise DataError(f"data spec {where}: {twice}= stands there twice; give it once")
    return options
