"""Accuracy among classes: top-1 and top-5 for images, accuracy for everything else."""

import numpy as np
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.statistics import Estimate
from mpq_onnx.tasks import IMAGES, check_classes

FEW = 5


class ClassScores(Scores):
    """Right answers among logits [examples, classes]."""

    def __init__(self, task: str, repeats: int = 1) -> None:
        super().__init__(task, repeats)
        self.examples = self.top1 = self.top5 = self.classes = 0

    def update(self, output: np.ndarray, labels: np.ndarray | None, exact: np.ndarray | None) -> None:
        if labels is None:
            return
        check_classes(labels, output.shape[1])
        self.examples += len(labels)
        self.classes = output.shape[1]
        self.top1 += int(accuracy_score(labels, output.argmax(axis=1), normalize=False))
        if self.classes > FEW:
            classes = np.arange(self.classes)
            self.top5 += int(top_k_accuracy_score(labels, output, k=FEW, normalize=False, labels=classes))

    def metrics(self) -> dict[str, Estimate]:
        """top1, and top5 where there are more than five classes; or accuracy."""
        if not self.examples:
            return {}
        first = Estimate.share(self.top1, self.examples, self.repeats)
        if self.task not in ("", IMAGES):
            return {"accuracy": first}
        found = {"top1": first}
        if self.classes > FEW:
            found["top5"] = Estimate.share(self.top5, self.examples, self.repeats)
        return found

    @staticmethod
    def predictions(output: np.ndarray) -> np.ndarray | None:
        return output.argmax(axis=1)
