"""Columns of a table as a model's inputs: numbers, scaled or in logarithms, and categories, by a vocabulary or hashed.

On disk a set of columns is a JSON file, validated against columns.schema.json and documented in docs/columns.md.
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_onnx.errors import DataError
from mpq_onnx.json_document import read_document

SCHEMA = "columns.schema.json"

TRANSFORMS: dict[str, Callable[[float], float]] = {
    "none": lambda value: value,
    # Counts, as facebookresearch/dlrm transforms Criteo's: negative ones are errors of the source.
    "log": lambda value: math.log1p(max(value, 0.0)),
}


@dataclass(frozen=True)
class NumberColumn:
    """(transform(value) - mean) / std."""

    column: str | int
    transform: str = "none"
    mean: float = 0.0
    std: float = 1.0
    missing: float = 0.0
    """Stands for an empty field, after the transform."""

    def encode(self, text: str) -> float:
        """Raises ValueError for text that is no number."""
        value = TRANSFORMS[self.transform](float(text)) if text else self.missing
        return (value - self.mean) / self.std


@dataclass(frozen=True)
class CategoryColumn:
    """A category's row in an embedding table: row 0 is for missing values and those that the vocabulary lacks."""

    column: str | int
    vocabulary: tuple[str, ...] = ()
    """Rows 1, 2, ..."""
    rows: int = 0
    """Without a vocabulary: rows of the table that values are hashed to (1 .. rows-1)."""

    def encode(self, text: str) -> int:
        """The row."""
        if not text:
            return 0
        if self.vocabulary:
            return self._rows_by_value.get(text, 0)
        return 1 + zlib.crc32(text.encode()) % (self.rows - 1) if self.rows > 1 else 0

    @functools.cached_property
    def _rows_by_value(self) -> dict[str, int]:
        return {value: row for row, value in enumerate(self.vocabulary, 1)}


@dataclass(frozen=True)
class HexColumn:
    """A category that is a hexadecimal number, as Criteo's are: value mod rows, and 0 where it is missing."""

    column: str | int
    rows: int

    def encode(self, text: str) -> int:
        """Raises ValueError for text that is no hexadecimal number."""
        return int(text, 16) % self.rows if text else 0


Column = NumberColumn | CategoryColumn | HexColumn


@dataclass(frozen=True)
class Label:
    """The column of the answer."""

    column: str | int
    positive: tuple[str, ...] = ()
    """Values that are class 1, all others are 0; empty for labels that are whole numbers."""

    def encode(self, text: str) -> int:
        """Raises ValueError for text that is no whole number where one is expected."""
        return int(text in self.positive) if self.positive else int(text)


@dataclass(frozen=True)
class Columns:
    """How a table's rows become a model's inputs."""

    inputs: Mapping[str, tuple[Column, ...]]
    """By input name; numbers make a float32 input, categories an int64 one."""
    label: Label | None
    header: bool
    separator: str

    def places(self, names: Sequence[str] | None, where: str) -> "Columns":
        """The same with every column's number in place of its name.

        Raises:
            DataError: a name that the header lacks.
        """

        def place(column: Any) -> Any:
            if isinstance(column.column, int):
                return column
            if names is None or column.column not in names:
                raise DataError(
                    f"{where}: no column {column.column}; there is {', '.join(names or ['no header'])}"
                )
            return dataclasses.replace(column, column=names.index(column.column))

        inputs = {name: tuple(place(column) for column in columns) for name, columns in self.inputs.items()}
        return dataclasses.replace(self, inputs=inputs, label=self.label and place(self.label))

    def encode(self, rows: Sequence[Sequence[str]], where: str) -> dict[str, np.ndarray]:
        """Arrays [rows, columns] by input name, for columns that are numbered.

        Raises:
            DataError: a field that its column cannot read.
        """
        return {
            name: np.array(
                [[_encode(column, row, where) for column in columns] for row in rows],
                np.float32 if isinstance(columns[0], NumberColumn) else np.int64,
            )
            for name, columns in self.inputs.items()
        }

    def encode_labels(self, rows: Sequence[Sequence[str]], where: str) -> np.ndarray | None:
        """int64 [rows]."""
        if self.label is None:
            return None
        return np.array([_encode(self.label, row, where) for row in rows], np.int64)


def load_columns(path: str) -> Columns:
    """Read a set of columns.

    Raises:
        DataError: missing, not JSON, or against the schema.
    """
    document = read_document(path, SCHEMA, DataError)
    inputs = {
        name: tuple(_column(entry) for entry in entries) for name, entries in document["inputs"].items()
    }
    label = document.get("label")
    return Columns(
        inputs,
        None if label is None else Label(label["column"], tuple(label.get("positive", ()))),
        document.get("header", False),
        document.get("separator", ","),
    )


def _column(entry: Mapping[str, Any]) -> Column:
    if "vocabulary" in entry or "rows" in entry:
        return CategoryColumn(entry["column"], tuple(entry.get("vocabulary", ())), entry.get("rows", 0))
    return NumberColumn(**entry)


def _encode(column: Any, row: Sequence[str], where: str) -> Any:
    try:
        return column.encode(row[column.column].strip())
    except IndexError:
        raise DataError(f"{where}: a row has {len(row)} fields, and no column {column.column}") from None
    except ValueError:
        raise DataError(
            f"{where}: column {column.column}: {row[column.column]!r} cannot be read as {type(column).__name__}"
        ) from None
