"""Data specs, `kind:path?key=value&key=value`, and the data sets that they open. No torch here.

One kind a file; a new kind is one file and one line in KINDS.
"""

import dataclasses
from collections.abc import Callable

from mpq_onnx.datasets import (
    criteo,
    csv_file,
    digits,
    glue_mnli,
    image_folder,
    image_list,
    imagenet,
    npz,
    python_factory,
    random_inputs,
    text_file,
)
from mpq_onnx.datasets.base import Batch, Dataset, Examples, Facts
from mpq_onnx.datasets.in_memory import DataSource, InMemory, data_source, optional_source
from mpq_onnx.datasets.sampling import drawn
from mpq_onnx.datasets.spec import DataSpec, lying_here, parse_spec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.metadata import METADATA_TASK
from mpq_onnx.graph.model_inputs import ModelInput

Opener = Callable[[DataSpec, tuple[ModelInput, ...], Facts], Examples]

KINDS: dict[str, Opener] = {
    "npz": npz.open_examples,
    "imagenet": imagenet.open_examples,
    "imagefolder": image_folder.open_examples,
    "imagelist": image_list.open_examples,
    "digits": digits.open_examples,
    "text": text_file.open_examples,
    "glue-mnli": glue_mnli.open_examples,
    "csv": csv_file.open_examples,
    "criteo": criteo.open_examples,
    "random": random_inputs.open_examples,
    "python": python_factory.open_examples,
}


def open_dataset(text: str | InMemory, inputs: tuple[ModelInput, ...], facts: Facts | None = None) -> Dataset:
    """Open the data set that a spec names, or that a caller holds, for a model with `inputs`.

    Args:
        text: such as `npz:train.npz?layout=nhwc&start=0&count=1024`; `start` and `count` choose a part of any
            kind, `shuffle` a seed that the order is drawn by before.
        facts: the model's metadata (its preprocessing, tokenizer, task, ...), which options in `text` override.

    Raises:
        UsageError: a negative start, or no examples asked for.
        DataError: an unknown kind or option, or a file that cannot be read.
        ModelError: an input that is text, or complex.
    """
    for each in inputs:
        each.check_type()
    known = facts or {}
    if isinstance(text, InMemory):
        held = text.open_examples(inputs, known)
        return Dataset(text.name, held, inputs, range(held.length), known.get(METADATA_TASK, ""))
    spec = lying_here(parse_spec(text))
    opener = KINDS.get(spec.kind)
    if opener is None:
        raise DataError(f"data spec {text}: unknown kind {spec.kind!r}; choose one of {', '.join(KINDS)}")
    start, count = spec.integer("start", 0, least=0), spec.integer("count", None, least=1)
    seed = spec.integer("shuffle", None, least=0)
    examples = opener(spec, inputs, known)
    spec.refuse_unused()
    stop = examples.length if count is None or spec.kind == "random" else min(start + count, examples.length)
    if not 0 <= start < stop:
        raise DataError(f"data spec {text}: no examples left of {examples.length} after start and count")
    everything = Dataset(text, examples, inputs, range(examples.length), known.get(METADATA_TASK, ""))
    ordered = everything if seed is None else drawn(everything, seed)
    return dataclasses.replace(ordered, indices=ordered.indices[start:stop])


__all__ = [
    "KINDS",
    "Batch",
    "DataSource",
    "DataSpec",
    "Dataset",
    "Examples",
    "InMemory",
    "data_source",
    "open_dataset",
    "optional_source",
    "parse_spec",
]
