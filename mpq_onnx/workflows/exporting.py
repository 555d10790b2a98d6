"""export: any source -> one canonical float ONNX file, checked against the source."""

import os
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import open_dataset
from mpq_onnx.datasets.preprocessing import parse_preprocessing
from mpq_onnx.datasets.spec import parse_options
from mpq_onnx.errors import ModelError, MpqOnnxError, UsageError, check_choice
from mpq_onnx.metadata import METADATA_PREPROCESSING, METADATA_SOURCE, METADATA_TASK, MODEL_FACTS
from mpq_onnx.model_file import clone, save_model
from mpq_onnx.model_inputs import model_inputs
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.passes.compute_in_float32 import PRECISION, converted_types
from mpq_onnx.passes.free_batch import FreeBatchPass
from mpq_onnx.runtime.session import Runner
from mpq_onnx.tasks import TASKS
from mpq_onnx.workflows.source_notes import source_notes
from mpq_onnx.zoo import SourceOptions, open_source
from mpq_onnx.zoo.source import SEQUENCE_LENGTH

CHECK = "random?count=2&size=32"
LARGEST_DIFFERENCE = 1e-3
"""Relative to the largest output: above this the export is refused as wrong."""
ROUNDINGS = 32
"""Of a source in a type of few bits, in units of its precision: its outputs may be that far from float32's."""


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    path: str
    nodes: int
    bytes: int
    largest_difference: float
    """Between the source's outputs and the file's, absolute, on the check's data."""
    largest_output: float
    fixed_batch: int | None
    """The one batch size that the model takes; None for any."""
    metadata: dict[str, str]
    """What the file says about its model: preprocessing, task, ... (see metadata.py)."""
    notes: tuple[str, ...] = ()
    """What is no longer as the source has it, one line each."""


def export(
    source: str,
    output: str | os.PathLike[str],
    *,
    weights: str | None = None,
    pretrained: bool = False,
    seed: int = 0,
    task: str | None = None,
    sequence_length: int = SEQUENCE_LENGTH,
    preprocess: str | None = None,
    check: str = CHECK,
) -> ExportResult:
    """Write the canonical form of `source` to `output`.

    Args:
        source: an ONNX file, torchvision:NAME, pytorchcv:NAME, transformers:DIR_OR_NAME, dlrm?..., or
            python:package.module:factory.
        weights: a state dict file for a torch source.
        pretrained: take the library's own weights, which it downloads.
        seed: of random weights.
        task: what a transformer is to do; for other sources, what the outputs mean (a name in tasks.TASKS), where the source
            does not say or is wrong.
        sequence_length: tokens of a transformer's input.
        preprocess: how stored images become inputs, such as "layout=nhwc&mean=0.5&std=0.25"; kept in the file for every
            later command. None keeps what the source says.
        check: data spec for the comparison of source and file.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    if preprocess is not None:
        parse_preprocessing(parse_options(preprocess, "--preprocess"), "--preprocess")
    if task is not None:
        check_choice("task", task, TASKS)
    if sequence_length < 1:
        raise UsageError(f"--sequence-length {sequence_length}: must be at least 1")
    opened = open_source(source, SourceOptions(weights, pretrained, seed, task, sequence_length))
    model = with_free_batch(canonicalize(clone(opened.model), source), check)
    facts = {key: model.metadata_props[key] for key in MODEL_FACTS if key in model.metadata_props}
    facts |= opened.metadata
    if preprocess is not None:
        facts[METADATA_PREPROCESSING] = preprocess
    if task is not None:
        facts[METADATA_TASK] = task
    model.metadata_props.update(facts)
    model.metadata_props[METADATA_SOURCE] = source
    runner = Runner(model, "cpu", where=f"the canonical form of {source}")
    feeds = open_dataset(check, model_inputs(model)).read([0, 1]).inputs
    difference, largest = 0.0, 0.0
    for found, wanted in zip(runner.run(feeds), opened.reference(feeds), strict=True):
        numbers = wanted.astype(np.float64)
        difference = max(difference, float(np.abs(found.astype(np.float64) - numbers).max(initial=0)))
        largest = max(largest, float(np.abs(numbers).max(initial=0)))
    if not difference <= _tolerance(opened.model) * max(largest, 1.0):
        raise ModelError(
            f"{source}: the canonical form differs by {difference:.3g} (outputs up to {largest:.3g}); please report it"
        )
    size = save_model(model, output)
    return ExportResult(
        path=str(output),
        nodes=len(list(model.graph)),
        bytes=size,
        largest_difference=difference,
        largest_output=largest,
        fixed_batch=model_inputs(model)[0].fixed_batch,
        metadata=facts,
        notes=source_notes(opened.model),
    )


def _tolerance(source: ir.Model) -> float:
    """The largest difference that is no fault, relative to the largest output."""
    return max([LARGEST_DIFFERENCE, *(ROUNDINGS * PRECISION[dtype] for dtype in converted_types(source))])


def with_free_batch(model: ir.Model, check: str) -> ir.Model:
    """A model exported for one batch size, opened to any where it then still computes the same; else as it was."""
    size = model_inputs(model)[0].fixed_batch
    if size is None:
        return model
    opened = clone(model)
    if not FreeBatchPass()(opened).modified:
        return model
    feeds = open_dataset(check, model_inputs(model)).read([index % 2 for index in range(2 * size)]).inputs
    wanted = Runner(model, "cpu").run(feeds)
    try:
        found = Runner(opened, "cpu").run(feeds)
    except MpqOnnxError:  # onnxruntime cannot run another number of examples
        return model
    same = all(
        ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=LARGEST_DIFFERENCE, atol=1e-6)
        for ours, theirs in zip(found, wanted, strict=True)
    )
    return opened if same else model
