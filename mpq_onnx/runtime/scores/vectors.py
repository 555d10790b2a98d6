"""Embeddings: cosine with the baseline's, and Spearman's rank correlation of similarities with scores.

Where the data gives pairs as two examples, one after the other (text:FILE?as=pairs), the similarity of a pair is its cosine.
The ranks are compared with the labels, or with the baseline's similarities where there are none.
"""

import math

import numpy as np

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.scores.values import cosines
from mpq_onnx.runtime.statistics import NORMAL_QUANTILE, Estimate

RANK_VARIANCE = 1.06
"""Of Fisher's z of a rank correlation, times (pairs - 3) (Fieller, Hartley and Pearson, Biometrika 44, 1957)."""


class VectorScores(Scores):
    """Vectors [examples, length]."""

    compared = ("cosine",)

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.similarities: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []

    def update(self, output: np.ndarray, labels: np.ndarray | None) -> None:
        """Labels are those of each pair's first example; or, floats [examples, length], the baseline's vectors."""
        even = len(output) // 2 * 2
        if labels is None or not even:
            return
        wanted = (
            labels[0:even:2].astype(np.float64)
            if labels.ndim == 1
            else cosines(labels[0:even:2], labels[1:even:2])
        )
        self.similarities.append(cosines(output[0:even:2], output[1:even:2]))
        self.scores.append(wanted)

    def metrics(self) -> dict[str, Estimate]:
        """spearman."""
        if not self.scores:
            return {}
        similarities, scores = np.concatenate(self.similarities), np.concatenate(self.scores)
        if np.isnan(similarities).any():
            return {"spearman": Estimate(math.nan, math.nan, math.nan)}
        if len(scores) <= 3 or not np.ptp(scores) > 0 or not np.ptp(similarities) > 0:
            return {}
        from scipy.stats import spearmanr  # slow to load

        return {"spearman": _rank_estimate(float(spearmanr(similarities, scores).statistic), len(scores))}

    @classmethod
    def targets(cls, exact: np.ndarray) -> np.ndarray | None:
        """The baseline's vectors themselves."""
        return exact


def _rank_estimate(correlation: float, pairs: int) -> Estimate:
    margin = NORMAL_QUANTILE * np.sqrt(RANK_VARIANCE / (pairs - 3))
    z = np.arctanh(np.clip(correlation, -1 + 1e-15, 1 - 1e-15))
    low, high = np.tanh(z - margin), np.tanh(z + margin)
    return Estimate(correlation, min(float(low), correlation), max(float(high), correlation))
