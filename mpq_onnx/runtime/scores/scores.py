"""What a set of metrics does."""

from abc import ABC, abstractmethod

import numpy as np

from mpq_onnx.runtime.statistics import Estimate


class Scores(ABC):
    """Metrics of one model, gathered batch by batch over one pass or several over the same examples."""

    def __init__(self, task: str, repeats: int = 1) -> None:
        """Args: task: the model's; repeats: how many passes will be gathered."""
        self.task, self.repeats = task, repeats

    @abstractmethod
    def update(self, output: np.ndarray, labels: np.ndarray | None, exact: np.ndarray | None) -> None:
        """Take in one batch of the first output.

        Args:
            labels: the right answers, or None.
            exact: the same output of a baseline, or None.

        Raises:
            ValueError: labels that do not fit; the text says why.
        """

    @abstractmethod
    def metrics(self) -> dict[str, Estimate]:
        """All that the gathered batches allow."""

    @staticmethod
    def predictions(output: np.ndarray) -> np.ndarray | None:
        """int64 [examples]: the class that an output stands for; None where it stands for none."""
        return None
