"""glue-mnli:DIR - MNLI as GLUE distributes it: train.tsv, dev_matched.tsv, dev_mismatched.tsv.

`split=both` (default: matched and mismatched, with metrics for each), `matched`, `mismatched` or `train`. Class numbers are
those of the model's own class names, and entailment, neutral, contradiction where it names none (Hugging Face's order).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.class_names import model_classes
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.datasets.text_table import read_table
from mpq_onnx.datasets.tokens import open_tokenizer, tokenizer_setup
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

FILES = {"train": "train.tsv", "matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"}
SPLITS = {"both": ("matched", "mismatched"), **{name: (name,) for name in FILES}}
CLASSES = ("entailment", "neutral", "contradiction")
TEXTS, LABEL = ("sentence1", "sentence2"), "gold_label"


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """Premise and hypothesis, tokenized when they are read; rows without a gold label are left out."""
    own = model_classes(facts)
    order = own if set(own) == set(CLASSES) else CLASSES
    numbers = {name: number for number, name in enumerate(order)}
    pairs, labels, groups = [], [], []
    for part in SPLITS[spec.choice("split", "both", SPLITS)]:
        table = read_table(str(Path(spec.path) / FILES[part]), "\t", True, spec.text)
        first, second, gold = (table.index(name) for name in (*TEXTS, LABEL))
        for row in table.rows:
            if row[gold] in numbers:
                pairs.append((row[first], row[second]))
                labels.append(numbers[row[gold]])
                groups.append(part)
    if not pairs:
        raise DataError(f"{spec.text}: no row has a {LABEL} of {', '.join(CLASSES)}")
    tokenize = open_tokenizer(spec, inputs, facts)
    all_labels, all_groups = np.array(labels, np.int64), np.array(groups)
    grouped = len(set(groups)) > 1

    def read(indices: Sequence[int]) -> Batch:
        chosen = np.asarray(indices)
        return Batch(
            tokenize([pairs[index] for index in indices]),
            all_labels[chosen],
            all_groups[chosen] if grouped else None,
        )

    return Examples(
        len(pairs),
        True,
        read,
        describe=lambda indices: (
            repr((pairs[index], groups[index], labels[index])).encode() for index in indices
        ),
        setup=tokenizer_setup(spec, facts),
    )
