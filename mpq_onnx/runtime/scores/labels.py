"""Whole numbers and truth values: class maps, indices, masks; the share of entries that are right."""

import numpy as np

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.statistics import Estimate, Share


class LabelScores(Scores):
    """Labels [examples, ...] against those of the data, where it has some of that shape (axes of length 1 apart)."""

    compared = ("agreement",)

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.right: list[np.ndarray] = []

    def update(self, output: np.ndarray, labels: np.ndarray | None) -> None:
        if labels is None or _lengths(labels) != _lengths(output):
            return
        self.right.append((output.reshape(labels.shape) == labels).reshape(len(labels), -1).mean(axis=1))

    def metrics(self) -> dict[str, Estimate]:
        """accuracy: the share of an example's entries that are right, mean over the examples."""
        if not self.right:
            return {}
        right = np.concatenate(self.right)
        if np.isin(right, (0, 1)).all():
            return {"accuracy": Estimate.share(int(right.sum()), len(right))}
        return {"accuracy": Share.bounded_mean(right)}

    @staticmethod
    def predictions(output: np.ndarray) -> np.ndarray | None:
        """The label itself, where an example has one."""
        return output.reshape(-1).astype(np.int64) if output.size == len(output) else None

    @classmethod
    def targets(cls, exact: np.ndarray) -> np.ndarray | None:
        """None: the metric agreement says it already."""
        return None


def _lengths(array: np.ndarray) -> tuple[int, ...]:
    return (len(array), *(size for size in array.shape[1:] if size > 1))
