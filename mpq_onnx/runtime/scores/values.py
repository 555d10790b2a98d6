"""Any output: nothing but a baseline says what is right, part by part (see runtime.part_figures)."""

import numpy as np

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.statistics import Estimate


class ValueScores(Scores):
    """The worst part's cosine with the baseline's."""

    compared = ("cosine", "agreement")

    def update(self, output: np.ndarray, labels: np.ndarray | None) -> None:
        """Labels say nothing of such outputs."""

    def metrics(self) -> dict[str, Estimate]:
        """None of its own."""
        return {}


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float64 [examples]: cosine of each pair of examples; 1 where both are zero."""
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (first, second))
    with np.errstate(invalid="ignore"):
        own, other = (np.sqrt((each**2).sum(1)) for each in (a, b))
        # Length by length: their product may be no number where neither is zero.
        found = (a / np.where(own == 0, 1, own)[:, None] * b).sum(1) / np.where(other == 0, 1, other)
    return np.where((own == 0) & (other == 0), 1.0, found)
