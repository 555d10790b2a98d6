"""Evaluate an ONNX file, float or quantized, on a data set."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.datasets import Batch, Dataset
from mpq_onnx.graph.example_layout import ExampleLayout, examples_or_whole
from mpq_onnx.progress import watched
from mpq_onnx.runtime.not_finite import ALL_FINITE, NotFinite
from mpq_onnx.runtime.output_form import output_meaning
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.statistics import Estimate, Spread
from mpq_onnx.runtime.tally import Answers, Comparison, Tally
from mpq_onnx.runtime.tensors import common_layouts, examples_at_most, output_layouts, untold

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
    """Every metric, agreement and the worst part's sqnr over repeats with independent noise, for a noisy model; metrics and
    comparison then hold the means of the repeats (see statistics.Estimate.over_repeats)."""
    taken_for: str | None = None
    """What the output was taken for, and how to change it, where the file does not say what it means."""
    mixed: tuple[str, ...] = ()
    """Outputs that answer an example otherwise where others are in its batch (see runtime.mixed_examples)."""
    classes: int | None = None
    """How many the outputs choose among, where there are labels and they choose."""
    one_hot_labels: bool = False
    """Whether the data's labels are rows with a single 1, which stand for classes."""
    not_finite: NotFinite = ALL_FINITE
    """Among the model's outputs; of several repeats the worst."""


def evaluate_runner(
    runner: Runner,
    dataset: Dataset,
    baseline: Runner | None = None,
    batch_size: int = BATCH_SIZE,
    watch: Callable[[Sequence[int], Batch, list[np.ndarray]], None] | None = None,
    no_length: Collection[str] = (),
) -> Evaluation:
    """Run `dataset` through a model, and through a baseline beside it; of several ranks the first counts what all answer.

    Args:
        watch: called with the positions of every batch of this rank, in order, the batch and the model's outputs,
            [examples, ...] each.
        no_length: outputs whose length hangs on the data (see graph.post_processing).

    Raises:
        DataError: labels that do not fit the outputs, or data that does not fit the model.
    """
    baseline = baseline.paired(runner.outputs) if baseline is not None else None
    own = theirs = untold(output_layouts(runner, dataset), runner.outputs, no_length)
    batch_size = examples_at_most(runner, own, dataset, batch_size)
    if baseline is not None:
        own, theirs = common_layouts(own, output_layouts(baseline, dataset))
    parts = dataset.parts(batch_size)
    positions = dataset.ranks.own(parts)
    runner.run(dataset.read(parts[0]).inputs)  # the first run allocates memory

    def answered() -> Iterator[tuple[Answers, float]]:
        """What this rank's batches give, and the seconds that each took."""
        batches = watched(dataset.own_batches(batch_size), "evaluate", len(positions))
        for place, batch in zip(positions, batches, strict=True):
            start = time.perf_counter()
            outputs = runner.run(batch.inputs)
            seconds = time.perf_counter() - start
            exact = by_example(baseline.run(batch.inputs), theirs, batch) if baseline is not None else None
            answers = by_example(outputs, own, batch)
            if watch is not None:
                watch(place, batch, answers)
            yield Answers(batch.examples, answers, exact, batch.labels, batch.groups), seconds

    def counted(answers: Iterator[tuple[Answers, float]]) -> Evaluation:
        meaning = output_meaning(baseline or runner, theirs, dataset, batch_size)
        tally, seconds = Tally(dataset, meaning), 0.0
        for each, took in answers:
            tally.update(each)
            seconds += took
        return Evaluation(
            examples=len(dataset),
            metrics=tally.metrics,
            labels=tally.labels,
            examples_per_second=len(dataset) / max(seconds, 1e-9),
            comparison=tally.comparison,
            taken_for=meaning.taken_for,
            mixed=meaning.mixed,
            classes=tally.classes,
            one_hot_labels=tally.one_hot_labels,
            not_finite=tally.not_finite,
        )

    return dataset.ranks.at_first(answered(), len(parts), counted)


def by_example(
    outputs: Sequence[np.ndarray], layouts: Sequence[ExampleLayout | None], batch: Batch
) -> list[np.ndarray]:
    """The outputs of one batch as [examples, ...]; as they are where their length hangs on the data."""
    return [
        examples_or_whole(output, layout, batch.examples)
        for output, layout in zip(outputs, layouts, strict=True)
    ]
