"""What a set of metrics does."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from mpq_onnx.runtime.statistics import Estimate


class Scores(ABC):
    """Metrics of one model, gathered batch by batch over one pass."""

    compared: ClassVar[tuple[str, ...]] = ()
    """Figures of the worst part of the outputs (see runtime.part_figures) that are metrics of such answers."""

    def __init__(self, task: str) -> None:
        """Args: task: the model's."""
        self.task = task

    @classmethod
    def answers(cls, labels: np.ndarray, output: np.ndarray) -> np.ndarray:
        """The data's labels of one batch in the form that `update` takes.

        Raises:
            ValueError: they do not fit the first output; the text says why.
        """
        return labels

    @abstractmethod
    def update(self, output: np.ndarray, labels: np.ndarray | None) -> None:
        """Take in one batch of the first output, and the right answers (see `answers`), or the baseline's, or None."""

    @abstractmethod
    def metrics(self) -> dict[str, Estimate]:
        """All that the gathered batches allow."""

    @property
    def chosen_among(self) -> int | None:
        """How many classes the answers choose among; None where they choose none, or no label was seen."""
        return None

    @staticmethod
    def predictions(output: np.ndarray) -> np.ndarray | None:
        """int64 [examples]: the class that an output stands for, NO_PREDICTION where it holds NaN; None for other outputs."""
        return None

    @classmethod
    def targets(cls, exact: np.ndarray) -> np.ndarray | None:
        """What stands for the labels where the data has none: the baseline's predictions, from its output."""
        return cls.predictions(exact)
