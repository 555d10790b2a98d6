"""text:FILE.tsv - sentences (or pairs of them) with labels, for a text model.

`columns=0` or `columns=premise,hypothesis`: one text, or two that go into the model together; `label=`: the label's column, by
default the last one that is no text, `label=none` for none; `header=yes`: the first line has names; `separator=comma`;
`length=`: tokens. `as=pairs` gives the two texts as two examples, one after the other, whose similarity the label scores.
"""

from collections.abc import Sequence

import numpy as np

from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.class_names import class_numbers, model_classes
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.datasets.text_table import TextTable, read_table
from mpq_onnx.datasets.tokens import Sentences, open_tokenizer, tokenizer_setup
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

SEPARATORS = {"tab": "\t", "comma": ","}
NO_LABEL = "none"


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """The rows of the file, tokenized when they are read."""
    separator = spec.choice("separator", "tab", SEPARATORS)
    header = spec.choice("header", "no", ("no", "yes")) == "yes"
    table = read_table(spec.path, SEPARATORS[separator], header, spec.text)
    columns = [table.index(name) for name in (spec.option("columns", "0") or "").split(",")]
    if len(columns) > 2:
        raise DataError(f"{spec.text}: columns= takes one column or two")
    labels = _labels(spec, table, columns, facts)
    rows = [repr(row).encode() for row in table.rows]
    texts: list[Sentences] = [
        row[columns[0]] if len(columns) == 1 else (row[columns[0]], row[columns[1]]) for row in table.rows
    ]
    if spec.choice("as", "input", ("input", "pairs")) == "pairs":
        if len(columns) != 2:
            raise DataError(f"{spec.text}: as=pairs wants two columns")
        texts = [text for pair in texts for text in pair]
        labels = None if labels is None else labels.repeat(2)
        rows = [row + half for row in rows for half in (b"first", b"second")]
    tokenize = open_tokenizer(spec, inputs, facts)

    def read(indices: Sequence[int]) -> Batch:
        arrays = tokenize([texts[index] for index in indices])
        return Batch(arrays, None if labels is None else labels[np.asarray(indices)])

    return Examples(
        len(texts),
        labels is not None,
        read,
        describe=lambda indices: (rows[index] for index in indices),
        setup=repr((columns, tokenizer_setup(spec, facts), None if labels is None else model_classes(facts))),
        together=len(texts) // len(table.rows),
    )


def _labels(spec: DataSpec, table: TextTable, texts: list[int], facts: Facts) -> np.ndarray | None:
    """int64 classes where all are whole numbers or names of the model's classes, else float64 scores."""
    others = [place for place in range(len(table.rows[0])) if place not in texts]
    column = spec.option("label", str(others[-1]) if others else NO_LABEL)
    if column == NO_LABEL or column is None:
        return None
    place = table.index(column)
    return class_numbers([row[place] for row in table.rows], facts, spec.text)
