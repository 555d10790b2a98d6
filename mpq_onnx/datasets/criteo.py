"""criteo:FILE - click logs of Criteo: label, 13 counts, 26 hexadecimal categories; tabs (train.txt) or commas with a header.

Counts become logarithms, categories rows of the model's embedding tables (value mod rows; `rows=` overrides the model's own).
"""

import csv
import json

from mpq_onnx.datasets.base import Examples, Facts
from mpq_onnx.datasets.columns import Columns, HexColumn, Label, NumberColumn
from mpq_onnx.datasets.csv_file import table_examples
from mpq_onnx.datasets.lines import Lines
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.metadata import METADATA_TABLES
from mpq_onnx.graph.model_inputs import ModelInput

NUMERIC, CATEGORIES = 13, 26


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """The rows of the file, for a model with one float input (counts) and one integer input (categories)."""
    floats = [wanted.name for wanted in inputs if wanted.dtype.kind == "f"]
    integers = [wanted.name for wanted in inputs if wanted.dtype.kind == "i"]
    if len(floats) != 1 or len(integers) != 1:
        raise DataError(
            f"{spec.text}: the model has inputs {', '.join(wanted.name for wanted in inputs)}; one of floats and one of"
            " integers are expected"
        )
    rows = _rows(spec, facts)
    lines = Lines(spec.path, spec.text)
    if not len(lines):
        raise DataError(f"{spec.text}: the file has no rows")
    (start,) = lines.read([0])
    separator = "\t" if "\t" in start else ","
    fields = next(csv.reader([start], delimiter=separator))
    labelled = len(fields) == 1 + NUMERIC + CATEGORIES
    if not labelled and len(fields) != NUMERIC + CATEGORIES:
        raise DataError(
            f"{spec.text}: {len(fields)} columns; Criteo has {NUMERIC + CATEGORIES}, and a label before them"
        )
    offset = int(labelled)
    columns = Columns(
        inputs={
            floats[0]: tuple(NumberColumn(offset + index, "log") for index in range(NUMERIC)),
            integers[0]: tuple(
                HexColumn(offset + NUMERIC + index, count) for index, count in enumerate(rows)
            ),
        },
        label=Label(0) if labelled else None,
        header=fields[-1] == f"C{CATEGORIES}",
        separator=separator,
    )
    return table_examples(lines, columns, spec.text)


def _rows(spec: DataSpec, facts: Facts) -> list[int]:
    given = spec.integer("rows", None)
    rows = [given] * CATEGORIES if given is not None else json.loads(facts.get(METADATA_TABLES, "[]"))
    if len(rows) != CATEGORIES or min(rows) < 1:
        raise DataError(
            f"{spec.text}: the model's metadata does not say how many rows its {CATEGORIES} embedding tables have; give rows="
        )
    return rows
