"""Evaluate an ONNX file, float or quantized, on a data set."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mpq_onnx.datasets import Dataset
from mpq_onnx.model_file import external_files
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.statistics import Estimate, Spread
from mpq_onnx.runtime.tally import Answers, Comparison, Tally

BATCH_SIZE = 64


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found."""

    examples: int
    metrics: dict[str, Estimate]
    """Those of the task (see runtime.scores), against the labels, or the baseline's predictions where the data has none."""
    labels: str
    """Where the target came from: data, baseline, or none."""
    examples_per_second: float
    """Inside onnxruntime, reading and preprocessing left out."""
    comparison: Comparison | None
    noise: dict[str, Spread] | None = None
    """Metrics over repeats with independent noise, for a noisy model; `metrics` then holds the mean of the repeats."""


def evaluate_runner(
    runner: Runner, dataset: Dataset, baseline: Runner | None = None, batch_size: int = BATCH_SIZE
) -> Evaluation:
    """Run `dataset` through a model, and through a baseline beside it.

    Raises:
        DataError: labels that do not fit the outputs, or data that does not fit the model.
    """
    tally = Tally(dataset)
    seconds = 0.0
    total = -(-len(dataset) // batch_size)
    runner.run(dataset.read(range(min(batch_size, len(dataset)))).inputs)  # the first run allocates memory
    for batch in tqdm(
        dataset.batches(batch_size), "evaluate", total, disable=None, leave=False, unit="batch"
    ):
        start = time.perf_counter()
        outputs = runner.run(batch.inputs)
        seconds += time.perf_counter() - start
        exact = baseline.run(batch.inputs) if baseline is not None else None
        tally.update(Answers(outputs, exact, batch.labels, batch.groups))
    return Evaluation(
        examples=len(dataset),
        metrics=tally.metrics,
        labels=tally.labels,
        examples_per_second=len(dataset) / max(seconds, 1e-9),
        comparison=tally.comparison,
    )


def file_bytes(path: str | os.PathLike[str]) -> int:
    """Size of a model file with its external data."""
    return sum(file.stat().st_size for file in (Path(path), *external_files(path)))
