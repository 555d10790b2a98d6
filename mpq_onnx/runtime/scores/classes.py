"""Accuracy among classes: top-1 and top-5 for images, accuracy for everything else."""

import numpy as np

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.statistics import Estimate
from mpq_onnx.tasks import IMAGES, check_classes

FEW = 5
NO_CLASS = -1
"""What an output with a NaN in it stands for."""


class ClassScores(Scores):
    """Right answers among logits [examples, classes]."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.examples = self.top1 = self.top5 = self.classes = 0

    def update(self, output: np.ndarray, labels: np.ndarray | None) -> None:
        if labels is None:
            return
        self.classes = output.shape[1]
        check_classes(labels, self.classes)
        self.examples += len(labels)
        self.top1 += int(np.count_nonzero(self.predictions(output) == labels))
        if self.classes > FEW:
            # Of equal logits the last counts as the larger, as in scikit-learn's top_k_accuracy_score (which takes no NaN).
            first = np.argsort(output, axis=1, kind="stable")[:, ::-1][:, :FEW]
            known = ~np.isnan(output).any(axis=1)
            self.top5 += int(((first == labels[:, None]).any(axis=1) & known).sum())

    def metrics(self) -> dict[str, Estimate]:
        """top1, and top5 where there are more than five classes; or accuracy."""
        if not self.examples:
            return {}
        first = Estimate.share(self.top1, self.examples)
        if self.task not in ("", IMAGES):
            return {"accuracy": first}
        found: dict[str, Estimate] = {"top1": first}
        if self.classes > FEW:
            found["top5"] = Estimate.share(self.top5, self.examples)
        return found

    @property
    def chosen_among(self) -> int | None:
        return self.classes or None

    @staticmethod
    def predictions(output: np.ndarray) -> np.ndarray | None:
        return np.where(np.isnan(output).any(axis=1), NO_CLASS, output.argmax(axis=1))

    @classmethod
    def targets(cls, exact: np.ndarray) -> np.ndarray | None:
        return exact.argmax(axis=1)
