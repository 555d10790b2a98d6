"""csv:FILE?columns=FILE.json - rows of a table as numbers and categories; FILE may be .gz; columns as docs/columns.md says.

Rows are read from the disk when they are wanted, so the file may be larger than the memory.
"""

import csv
from collections.abc import Sequence

from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.columns import Columns, ColumnsFile
from mpq_onnx.datasets.lines import Lines
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """The rows of the file."""
    path = spec.option("columns")
    if path is None:
        raise DataError(
            f"{spec.text}: give columns=FILE.json, which says what each column is (docs/columns.md)"
        )
    return table_examples(Lines(spec.path, spec.text), ColumnsFile.load(path), spec.text)


def table_examples(lines: Lines, columns: Columns, where: str) -> Examples:
    """The rows of an open file, by what its columns are."""
    first = int(columns.header)
    if len(lines) <= first:
        raise DataError(f"{where}: the file has no rows")
    names = _fields(lines.read([0]), columns.separator)[0] if columns.header else None
    placed = columns.places([name.strip() for name in names] if names is not None else None, where)

    def read(indices: Sequence[int]) -> Batch:
        rows = _fields(lines.read([first + index for index in indices]), placed.separator)
        return Batch(placed.encode(rows, where), placed.encode_labels(rows, where))

    return Examples(
        len(lines) - first,
        placed.label is not None,
        read,
        describe=lambda indices: (line.encode() for line in lines.read([first + index for index in indices])),
        setup=repr(placed),
    )


def _fields(lines: list[str], separator: str) -> list[list[str]]:
    return list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
