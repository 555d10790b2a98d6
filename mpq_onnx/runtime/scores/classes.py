"""Accuracy among classes: top-1 and top-5 for images, accuracy for everything else."""

import numpy as np

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.statistics import NO_PREDICTION, Estimate
from mpq_onnx.tasks import IMAGES, class_labels

FEW = 5


class ClassScores(Scores):
    """Right answers among logits [examples, classes]."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.examples = self.top1 = self.top5 = self.classes = 0

    @classmethod
    def answers(cls, labels: np.ndarray, output: np.ndarray) -> np.ndarray:
        return class_labels(labels, output.shape[1])

    def update(self, output: np.ndarray, labels: np.ndarray | None) -> None:
        if labels is None:
            return
        self.classes = output.shape[1]
        self.examples += len(labels)
        places = _places(output, labels)
        self.top1 += int(np.count_nonzero(places < 1))
        self.top5 += int(np.count_nonzero(places < FEW))

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
        return np.where(np.isnan(output).any(axis=1), NO_PREDICTION, output.argmax(axis=1))


def _places(output: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """int64 [examples]: how many classes come before the right one; all of them where an output or a label is none.

    Of equal logits the lower class comes first, as argmax has it: place 0 is the prediction.
    """
    classes = output.shape[1]
    known = (labels != NO_PREDICTION) & ~np.isnan(output).any(axis=1)
    right = np.where(known, labels, 0)[:, None]
    logits = np.take_along_axis(output, right, axis=1)
    before = (output > logits) | ((output == logits) & (np.arange(classes) < right))
    return np.where(known, before.sum(axis=1), classes)
