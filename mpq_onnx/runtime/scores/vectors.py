"""Embeddings: cosine with the baseline's, and Spearman's rank correlation of similarities with scores.

Where the data gives pairs as two examples, one after the other (text:FILE?as=pairs), the similarity of a pair is its cosine.
The ranks are compared with the labels, or with the baseline's similarities where there are none.
"""

import numpy as np
from scipy.stats import spearmanr

from mpq_onnx.runtime.scores.values import ValueScores, cosines
from mpq_onnx.runtime.statistics import NORMAL_QUANTILE, Estimate

RANK_VARIANCE = 1.06
"""Of Fisher's z of a rank correlation, times (pairs - 3) (Fieller, Hartley and Pearson, Biometrika 44, 1957)."""


class VectorScores(ValueScores):
    """Vectors [examples, length]."""

    def __init__(self, task: str, repeats: int = 1) -> None:
        super().__init__(task, repeats)
        self.similarities: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []

    def update(self, output: np.ndarray, labels: np.ndarray | None, exact: np.ndarray | None) -> None:
        super().update(output, labels, exact)
        even = len(output) // 2 * 2
        scores = _pair_scores(labels, exact, even)
        if scores is not None and even:
            self.similarities.append(cosines(output[0:even:2], output[1:even:2]))
            self.scores.append(scores)

    def metrics(self) -> dict[str, Estimate]:
        """cosine, spearman."""
        found = super().metrics()
        if self.scores:
            similarities, scores = np.concatenate(self.similarities), np.concatenate(self.scores)
            pairs = len(scores) // self.repeats
            if pairs > 3 and np.ptp(scores) > 0 and np.ptp(similarities) > 0:
                found["spearman"] = _rank_estimate(float(spearmanr(similarities, scores).statistic), pairs)
        return found


def _pair_scores(labels: np.ndarray | None, exact: np.ndarray | None, even: int) -> np.ndarray | None:
    if labels is not None:
        return labels[0:even:2].astype(np.float64)
    return cosines(exact[0:even:2], exact[1:even:2]) if exact is not None else None


def _rank_estimate(correlation: float, pairs: int) -> Estimate:
    margin = NORMAL_QUANTILE * np.sqrt(RANK_VARIANCE / (pairs - 3))
    z = np.arctanh(np.clip(correlation, -1 + 1e-15, 1 - 1e-15))
    low, high = np.tanh(z - margin), np.tanh(z + margin)
    return Estimate(correlation, min(float(low), correlation), max(float(high), correlation))
