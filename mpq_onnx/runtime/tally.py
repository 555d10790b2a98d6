"""What one evaluation counts, batch by batch, over one pass or several over the same data."""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import DataError
from mpq_onnx.runtime.scores import SCORES, Scores
from mpq_onnx.runtime.statistics import Difference, Estimate, PairedCounts, SignalToNoise
from mpq_onnx.tasks import answer_of

Outputs = list[np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """A model against a baseline on the same data."""

    metrics: dict[str, Estimate]
    """The baseline's own."""
    top1_difference: Difference | None
    """Of the shares of right predictions; None where outputs stand for no class."""
    agreement: Estimate | None
    """Share of equal predictions; None where outputs stand for no class."""
    output_sqnr: float
    """Decibels, over all outputs."""


@dataclass(frozen=True)
class Answers:
    """One batch: what the model, the baseline and the data say."""

    outputs: Outputs
    exact: Outputs | None
    """The baseline's outputs; its predictions are the target where there are no labels."""
    labels: np.ndarray | None
    groups: np.ndarray | None = None


class Tally:
    """Metrics of a model against labels, and against a baseline's outputs."""

    def __init__(self, dataset: Dataset, repeats: int = 1) -> None:
        """Args: repeats: how many passes over `dataset` will be counted."""
        self.dataset, self.repeats = dataset, repeats
        self.ours: dict[str, Scores] = {}
        self.theirs: dict[str, Scores] = {}
        self.pairs, self.noise = PairedCounts(repeats), SignalToNoise()
        self.compared = False

    def update(self, batch: Answers) -> None:
        """Take in one batch.

        Raises:
            DataError: labels or baseline outputs that do not fit.
        """
        make = SCORES[answer_of(self.dataset.task, [output.shape for output in batch.outputs])]
        output, labels = batch.outputs[0], batch.labels
        exact = batch.exact[0] if batch.exact is not None else None
        if batch.exact is not None and exact is not None:
            self.compared = True
            self._check_same_outputs(batch.outputs, batch.exact)
            for found, wanted in zip(batch.outputs, batch.exact, strict=True):
                self.noise.update(wanted, found)
        try:
            for group, members in _groups(batch.groups, len(output)):
                for kept in (self.ours, self.theirs):
                    kept.setdefault(group, make(self.dataset.task, self.repeats))
                own = _take(labels, members)
                if exact is not None:
                    self.theirs[group].update(exact[members], own, None)
                    if own is None:
                        own = self.ours[group].predictions(exact[members])
                self.ours[group].update(output[members], own, _take(exact, members))
        except ValueError as error:
            raise DataError(f"{self.dataset.name}: {error}") from error
        predictions = self.ours[""].predictions(output)
        if predictions is not None and exact is not None:
            baseline = self.ours[""].predictions(exact)
            assert baseline is not None
            self.pairs.update(predictions, baseline, labels)

    @property
    def metrics(self) -> dict[str, Estimate]:
        """The model's own; for a part of the data, NAME-PART."""
        return _joined(self.ours)

    @property
    def comparison(self) -> Comparison | None:
        """None where no baseline was seen."""
        if not self.compared:
            return None
        return Comparison(
            metrics=_joined(self.theirs),
            top1_difference=self.pairs.difference if self.pairs.examples else None,
            agreement=self.pairs.agreement if self.pairs.examples else None,
            output_sqnr=self.noise.decibels,
        )

    @property
    def labels(self) -> str:
        """Where the target came from: data, baseline, or none."""
        if self.dataset.has_labels:
            return "data"
        return "baseline" if self.compared else "none"

    def _check_same_outputs(self, outputs: Outputs, exact: Outputs) -> None:
        ours, theirs = [array.shape for array in outputs], [array.shape for array in exact]
        if ours != theirs:
            raise DataError(
                f"the model gives outputs of shape {ours}, the baseline of {theirs}: not the same network"
            )


def _groups(groups: np.ndarray | None, count: int) -> list[tuple[str, np.ndarray]]:
    """All examples, under no name, and those of every part under its own."""
    everything = ("", np.arange(count))
    if groups is None:
        return [everything]
    return [everything, *((str(name), np.flatnonzero(groups == name)) for name in np.unique(groups))]


def _take(array: np.ndarray | None, members: np.ndarray) -> np.ndarray | None:
    return None if array is None else array[members]


def _joined(scores: dict[str, Scores]) -> dict[str, Estimate]:
    return {
        f"{name}-{group}" if group else name: estimate
        for group, each in scores.items()
        for name, estimate in each.metrics().items()
    }
