"""Any output: how far each example still points into the baseline's direction."""

import numpy as np

from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.runtime.statistics import Estimate

SMALLEST_POWER = 1e-24


class ValueScores(Scores):
    """Cosine between an example's output and the baseline's, over all of its numbers."""

    def __init__(self, task: str, repeats: int = 1) -> None:
        super().__init__(task, repeats)
        self.cosines: list[np.ndarray] = []

    def update(self, output: np.ndarray, labels: np.ndarray | None, exact: np.ndarray | None) -> None:
        if exact is not None and output.dtype.kind == "f" and output.ndim:
            self.cosines.append(cosines(output, exact))

    def metrics(self) -> dict[str, Estimate]:
        """cosine."""
        if not self.cosines:
            return {}
        return {"cosine": Estimate.mean(np.concatenate(self.cosines), self.repeats)}


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float64 [examples]: cosine of each pair of examples."""
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (first, second))
    powers = np.maximum((a**2).sum(1) * (b**2).sum(1), SMALLEST_POWER)
    return (a * b).sum(1) / np.sqrt(powers)
