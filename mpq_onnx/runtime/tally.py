"""What one evaluation counts, batch by batch, over one pass or several over the same data."""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import DataError
from mpq_onnx.runtime.metrics import ClassificationCounts, Difference, PairedCounts, Proportion, SignalToNoise

Outputs = list[np.ndarray]


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


class Tally:
    """Metrics of a model against labels, and against a baseline's outputs."""

    def __init__(self, dataset: Dataset, repeats: int = 1) -> None:
        """Args: repeats: how many passes over `dataset` will be counted."""
        self.dataset = dataset
        self.ours, self.theirs = ClassificationCounts(repeats), ClassificationCounts(repeats)
        self.pairs, self.noise = PairedCounts(repeats), SignalToNoise()
        self.compared = False

    def update(self, outputs: Outputs, exact: Outputs | None, labels: np.ndarray | None) -> None:
        """Take in one batch.

        Args:
            exact: the baseline's outputs; its predictions are the target where there are no labels.

        Raises:
            DataError: labels or baseline outputs that do not fit.
        """
        classifies = outputs[0].ndim == 2 and outputs[0].shape[1] > 1
        if exact is not None:
            self.compared = True
            self._check_same_outputs(outputs, exact)
            for found, wanted in zip(outputs, exact, strict=True):
                self.noise.update(wanted, found)
            if classifies:
                self.pairs.update(outputs[0], exact[0], labels)
                if labels is not None:
                    self.theirs.update(exact[0], self._checked(labels, exact[0]))
                else:
                    labels = exact[0].argmax(axis=1)
        if classifies and labels is not None:
            self.ours.update(outputs[0], self._checked(labels, outputs[0]))

    @property
    def metrics(self) -> dict[str, Proportion]:
        """The model's own."""
        return self.ours.metrics() if self.ours.examples else {}

    @property
    def comparison(self) -> Comparison | None:
        """None where no baseline was seen."""
        if not self.compared:
            return None
        return Comparison(
            metrics=self.theirs.metrics() if self.theirs.examples else {},
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

    def _checked(self, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        if labels.ndim != 1 or labels.min() < 0 or labels.max() >= logits.shape[1]:
            raise DataError(
                f"{self.dataset.name}: labels from {labels.min()} to {labels.max()} do not fit the model's"
                f" {logits.shape[1]} classes"
            )
        return labels

    def _check_same_outputs(self, outputs: Outputs, exact: Outputs) -> None:
        ours, theirs = [array.shape for array in outputs], [array.shape for array in exact]
        if ours != theirs:
            raise DataError(
                f"the model gives outputs of shape {ours}, the baseline of {theirs}: not the same network"
            )
