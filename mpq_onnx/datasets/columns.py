"""Columns of a table as a model's inputs: numbers, scaled or in logarithms, and categories, by a vocabulary or hashed.

On disk a set of columns is a JSON file, documented in docs/columns.md.
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Len, MinLen

from mpq_onnx.documents.constraints import Count, Number, OneOf, Part, Positive, PositiveCount
from mpq_onnx.documents.document import Document, FileKind
from mpq_onnx.errors import DataError

TRANSFORMS: dict[str, Callable[[float], float]] = {
    "none": lambda value: value,
    # Counts, as facebookresearch/dlrm transforms Criteo's: negative ones are errors of the source.
    "log": lambda value: math.log1p(max(value, 0.0)),
}


SHOWN = 60
"""Characters of a row in a message."""
Place = str | Count
"""A column's name or number."""


@dataclass(frozen=True)
class NumberColumn(Part):
    """(transform(value) - mean) / std."""

    VALUE: ClassVar[str] = "number"

    column: Place
    transform: Annotated[str, OneOf(TRANSFORMS)] = "none"
    mean: Number = 0.0
    std: Positive = 1.0
    missing: Number = 0.0
    """Stands for an empty field, after the transform."""

    def encode(self, text: str) -> float:
        """Raises ValueError for text that is no number."""
        value = TRANSFORMS[self.transform](float(text)) if text else self.missing
        return (value - self.mean) / self.std


@dataclass(frozen=True)
class CategoryColumn(Part):
    """A category's row in an embedding table: row 0 is for missing values and those that the vocabulary lacks."""

    VALUE: ClassVar[str] = "category"

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        **Part.__pydantic_config__,
        "json_schema_extra": {"anyOf": [{"required": ["vocabulary"]}, {"required": ["rows"]}]},
    }

    column: Place
    vocabulary: Annotated[tuple[str, ...], MinLen(1)] = ()
    """Rows 1, 2, ..."""
    rows: PositiveCount = 0
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

    VALUE: ClassVar[str] = "hexadecimal number"

    column: str | int
    rows: int

    def encode(self, text: str) -> int:
        """Raises ValueError for text that is no hexadecimal number."""
        return int(text, 16) % self.rows if text else 0


Column = NumberColumn | CategoryColumn | HexColumn


Numbers = Annotated[tuple[NumberColumn, ...], MinLen(1)]
Categories = Annotated[tuple[CategoryColumn, ...], MinLen(1)]


@dataclass(frozen=True)
class Label(Part):
    """The column of the answer."""

    column: Place
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


@dataclass(frozen=True)
class ColumnsFile(Columns, Document):
    """A set of columns as a file gives it."""

    KIND = FileKind("columns", "mpq-onnx/columns", 1, "docs/columns.md", DataError)

    inputs: Annotated[Mapping[str, Numbers | Categories], MinLen(1)]
    """By input name: columns of numbers make a float32 input, those of categories an int64 one."""
    label: Label | None = None
    header: bool = False
    """The first line holds the columns' names."""
    separator: Annotated[str, Len(1, 1)] = ","


def _encode(column: Any, row: Sequence[str], where: str) -> Any:
    try:
        return column.encode(row[column.column].strip())
    except IndexError:
        raise DataError(
            f"{where}: a row has {len(row)} fields, and no column {column.column}: {', '.join(row)[:SHOWN]}"
        ) from None
    except ValueError:
        raise DataError(
            f"{where}: column {column.column}: {row[column.column]!r} is no {column.VALUE}, in the row"
            f" {', '.join(row)[:SHOWN]}"
        ) from None
