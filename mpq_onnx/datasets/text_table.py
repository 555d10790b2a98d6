"""Tables of text: lines of fields between tabs (or commas), with or without a line of names."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.errors import DataError


@dataclass(frozen=True)
class TextTable:
    """A table in memory."""

    names: tuple[str, ...] | None
    """None where the columns are numbered only."""
    rows: list[list[str]]
    where: str

    def index(self, column: str) -> int:
        """The place of a column, given by name or by number from 0 (from -1 backwards).

        Raises:
            DataError: there is none.
        """
        width = len(self.rows[0])
        if self.names is not None and column in self.names:
            return self.names.index(column)
        try:
            place = int(column)
        except ValueError:
            place = width
        if not -width <= place < width:
            known = ", ".join(self.names) if self.names is not None else f"0 to {width - 1}"
            raise DataError(f"{self.where}: no column {column}; there is {known}")
        return place % width


def read_table(path: str, separator: str, header: bool, where: str) -> TextTable:
    """Read a whole file; fields are not quoted where tabs part them.

    Raises:
        DataError: no such file, not UTF-8, no rows, or rows of different lengths.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = [row for row in _reader(file, separator) if row]
    except FileNotFoundError:
        raise DataError(f"{where}: no such file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: {path} cannot be read as a table of text: {error}") from error
    names = tuple(rows.pop(0)) if header and rows else None
    if not rows:
        raise DataError(f"{where}: {path} has no rows")
    width = len(names) if names is not None else len(rows[0])
    for number, row in enumerate(rows, 2 if header else 1):
        if len(row) != width:
            raise DataError(f"{where}: row {number} of {path} has {len(row)} fields, not {width}")
    return TextTable(names, rows, where)


def _reader(file: Iterable[str], separator: str) -> Iterable[list[str]]:
    if separator == "\t":
        return csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
    return csv.reader(file, delimiter=separator)
