"""Yes or no from a logit: area under the ROC curve, log loss, accuracy."""

import math

import numpy as np

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.statistics import NO_PREDICTION, Estimate
from mpq_onnx.tasks import class_labels

CLASSES = 2


class BinaryScores(Scores):
    """Logits of class 1, [examples] or [examples, 1], against labels 0 and 1."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.logits: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []

    @classmethod
    def answers(cls, labels: np.ndarray, output: np.ndarray) -> np.ndarray:
        return class_labels(labels, CLASSES)

    def update(self, output: np.ndarray, labels: np.ndarray | None) -> None:
        if labels is None:
            return
        self.logits.append(output.astype(np.float64).ravel())
        self.labels.append(labels)

    def metrics(self) -> dict[str, Estimate]:
        """auroc (where both classes occur), log_loss (nats), accuracy at probability 1/2."""
        if not self.labels:
            return {}
        from scipy.special import log_expit  # slow to load

        logits, labels = np.concatenate(self.logits), np.concatenate(self.labels)
        # Where the baseline, whose predictions are the labels, answers NaN nothing is right.
        logits = np.where(labels == NO_PREDICTION, math.nan, logits)
        losses = -np.where(labels == 1, log_expit(logits), log_expit(-logits))
        found = {
            "log_loss": Estimate.mean(losses),
            "accuracy": Estimate.share(
                int((_predicted(logits) == labels)[~np.isnan(logits)].sum()), len(labels)
            ),
        }
        positives = int((labels == 1).sum())
        if 0 < positives < len(labels):
            found = {"auroc": _area(labels, logits, positives), **found}
        return found

    @property
    def chosen_among(self) -> int | None:
        return CLASSES if self.labels else None

    @staticmethod
    def predictions(output: np.ndarray) -> np.ndarray | None:
        return _predicted(output.ravel())


def _predicted(logits: np.ndarray) -> np.ndarray:
    """int64 [examples]: 0 or 1, or NO_PREDICTION."""
    return np.where(np.isnan(logits), NO_PREDICTION, logits > 0)


def _area(labels: np.ndarray, logits: np.ndarray, positives: int) -> Estimate:
    """NaN where a logit is NaN: it has no rank."""
    if np.isnan(logits).any():
        return Estimate(math.nan, math.nan, math.nan)
    from scipy.stats import rankdata  # slow to load

    # Mann and Whitney: the share of pairs of one positive and one negative in which the positive has the higher logit.
    above = float(rankdata(logits)[labels == 1].sum()) - positives * (positives + 1) / 2
    negatives = len(labels) - positives
    area = above / (positives * negatives)
    return Estimate.normal(area, auroc_error(area, positives, negatives))


def auroc_error(area: float, positives: int, negatives: int) -> float:
    """Standard error of an area under the ROC curve (Hanley and McNeil, Radiology 143, 1982)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (positives - 1) * (one - area**2) + (negatives - 1) * (two - area**2)) / (
        positives * negatives
    )
    return math.sqrt(max(variance, 0.0))
