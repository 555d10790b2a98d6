"""Evaluate an ONNX file, float or quantized, on a data set."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import DataError
from mpq_onnx.runtime.metrics import ClassificationCounts, Difference, PairedCounts, Proportion, SignalToNoise
from mpq_onnx.runtime.session import Runner

BATCH_SIZE = 64


@dataclass(frozen=True)
class Comparison:
    """A model against a baseline on the same data."""

    metrics: dict[str, Proportion]
    """The baseline's own."""
    top1_difference: Difference | None
    agreement: Proportion | None
    """Share of equal predictions; None for models that do not classify."""
    output_sqnr: float
    """Decibels, over all outputs."""


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found."""

    examples: int
    metrics: dict[str, Proportion]
    """top1 and top5 against the labels, or against the baseline's predictions where the data has none."""
    labels: str
    """Where the target came from: data, baseline, or none."""
    examples_per_second: float
    """Inside onnxruntime, reading and preprocessing left out."""
    comparison: Comparison | None


def evaluate_runner(
    runner: Runner, dataset: Dataset, baseline: Runner | None = None, batch_size: int = BATCH_SIZE
) -> Evaluation:
    """Run `dataset` through a model, and through a baseline beside it.

    Raises:
        DataError: labels that do not fit the outputs, or data that does not fit the model.
    """
    ours, theirs, pairs, noise = (
        ClassificationCounts(),
        ClassificationCounts(),
        PairedCounts(),
        SignalToNoise(),
    )
    seconds = 0.0
    total = -(-len(dataset) // batch_size)
    runner.run(dataset.read(range(min(batch_size, len(dataset)))).inputs)  # the first run allocates memory
    for batch in tqdm(
        dataset.batches(batch_size), "evaluate", total, disable=None, leave=False, unit="batch"
    ):
        start = time.perf_counter()
        outputs = runner.run(batch.inputs)
        seconds += time.perf_counter() - start
        classifies = _classifies(outputs)
        exact = baseline.run(batch.inputs) if baseline is not None else None
        labels = batch.labels
        if exact is not None:
            _check_same_outputs(outputs, exact, runner, baseline)
            for found, wanted in zip(outputs, exact, strict=True):
                noise.update(wanted, found)
            if classifies:
                pairs.update(outputs[0], exact[0], labels)
                if labels is not None:
                    theirs.update(exact[0], _checked(labels, exact[0], dataset))
                else:
                    labels = exact[0].argmax(axis=1)
        if classifies and labels is not None:
            ours.update(outputs[0], _checked(labels, outputs[0], dataset))
    comparison = None
    if baseline is not None:
        comparison = Comparison(
            metrics=theirs.metrics() if theirs.examples else {},
            top1_difference=pairs.difference if pairs.examples else None,
            agreement=pairs.agreement if pairs.examples else None,
            output_sqnr=noise.decibels,
        )
    return Evaluation(
        examples=len(dataset),
        metrics=ours.metrics() if ours.examples else {},
        labels="data" if dataset.has_labels else ("baseline" if baseline is not None else "none"),
        examples_per_second=len(dataset) / max(seconds, 1e-9),
        comparison=comparison,
    )


def file_bytes(path: str | os.PathLike[str]) -> int:
    """Size of a model file with its external data."""
    path = Path(path)
    data = path.with_name(path.name + ".data")
    return path.stat().st_size + (data.stat().st_size if data.is_file() else 0)


def _classifies(outputs: list[np.ndarray]) -> bool:
    return outputs[0].ndim == 2 and outputs[0].shape[1] > 1


def _checked(labels: np.ndarray, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
    if labels.ndim != 1 or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise DataError(
            f"{dataset.name}: labels from {labels.min()} to {labels.max()} do not fit the model's"
            f" {logits.shape[1]} classes"
        )
    return labels


def _check_same_outputs(
    outputs: list[np.ndarray], exact: list[np.ndarray], runner: Runner, baseline: Runner | None
) -> None:
    ours, theirs = [array.shape for array in outputs], [array.shape for array in exact]
    if ours != theirs:
        where = baseline.where if baseline is not None else "baseline"
        raise DataError(
            f"{runner.where} gives outputs of shape {ours}, {where} of {theirs}: not the same network"
        )
