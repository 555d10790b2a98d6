"""export: any source -> one canonical float ONNX file, checked against the source."""

import os
from dataclasses import dataclass

import numpy as np

from mpq_onnx.datasets import open_dataset
from mpq_onnx.datasets.preprocessing import parse_preprocessing
from mpq_onnx.datasets.spec import parse_options
from mpq_onnx.errors import ModelError
from mpq_onnx.model_file import METADATA_PREPROCESSING, METADATA_SOURCE, clone, model_bytes, save_model
from mpq_onnx.model_inputs import model_inputs
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runtime.session import Runner
from mpq_onnx.zoo import SourceOptions, open_source

CHECK = "random?count=2&size=32"
LARGEST_DIFFERENCE = 1e-3
"""Relative to the largest output: above this the export is refused as wrong."""


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    path: str
    nodes: int
    bytes: int
    largest_difference: float
    """Between the source's outputs and the file's, absolute, on the check's data."""
    largest_output: float
    preprocessing: str


def export(
    source: str,
    output: str | os.PathLike[str],
    *,
    weights: str | None = None,
    seed: int = 0,
    preprocess: str | None = None,
    check: str = CHECK,
) -> ExportResult:
    """Write the canonical form of `source` to `output`.

    Args:
        source: an ONNX file, torchvision:NAME, or python:package.module:factory.
        weights: a state dict file for a torch source.
        seed: of random weights.
        preprocess: how stored images become inputs, such as "layout=nhwc&mean=0.5&std=0.25"; kept in the file for every
            later command. None keeps what the source says.
        check: data spec for the comparison of source and file.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    if preprocess is not None:
        parse_preprocessing(parse_options(preprocess, "--preprocess"), "--preprocess")
    opened = open_source(source, SourceOptions(weights, seed))
    model = canonicalize(clone(opened.model))
    kept = opened.preprocessing if preprocess is None else preprocess
    if kept:
        model.metadata_props[METADATA_PREPROCESSING] = kept
    model.metadata_props[METADATA_SOURCE] = source
    runner = Runner(model_bytes(model), "cpu", where=f"the canonical form of {source}")
    feeds = open_dataset(check, model_inputs(model)).read([0, 1]).inputs
    difference, largest = 0.0, 0.0
    for found, wanted in zip(runner.run(feeds), opened.reference(feeds), strict=True):
        difference = max(difference, float(np.abs(found.astype(np.float64) - wanted).max(initial=0)))
        largest = max(largest, float(np.abs(wanted).max(initial=0)))
    if not difference <= LARGEST_DIFFERENCE * max(largest, 1.0):
        raise ModelError(
            f"{source}: the canonical form differs by {difference:.3g} (outputs up to {largest:.3g}); please report it"
        )
    size = save_model(model, output)
    return ExportResult(str(output), len(list(model.graph)), size, difference, largest, kept)
