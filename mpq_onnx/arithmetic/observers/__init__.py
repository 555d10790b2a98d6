"""Observers: how the range of a quantizer is found from the values that it will see.

An observer is fed batch by batch and holds a fixed amount of memory. One observer a file; a new one is one file and one line
in registries.OBSERVERS.

Several ranks may share the batches: of every batch all of them get the summary, in the order of the batches, and one gets the
values. So what they have found together is what one process finds.
"""

import math
from abc import ABC, abstractmethod

import numpy as np

from mpq_onnx.arithmetic.quantization import Scheme
from mpq_onnx.ranks import Ranks


def extremes(values: np.ndarray) -> np.ndarray:
    """float64 [2]: the smallest and the largest; infinity and its negative where there are none."""
    if not values.size:
        return np.array([math.inf, -math.inf])
    return np.array([values.min(), values.max()], np.float64)


class Observer(ABC):
    """Watches one tensor."""

    def summary(self, values: np.ndarray) -> np.ndarray:
        """What must be known of all batches before it: of one batch's values (finite, any shape), float64 [n]."""
        return extremes(values)

    @abstractmethod
    def follow(self, summary: np.ndarray) -> None:
        """Take in the summary of the next batch."""

    def count(self, values: np.ndarray) -> None:  # noqa: B027 - most have nothing to count
        """Take in the values of the batch whose summary was the last; called by the rank that has them."""

    def merge(self, ranks: Ranks) -> None:  # noqa: B027
        """Take in what the other ranks have counted."""

    def update(self, values: np.ndarray) -> None:
        """Both, of one batch."""
        self.follow(self.summary(values))
        self.count(values)

    @abstractmethod
    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        """The (low, high) that a quantizer of `levels` levels, set as `scheme` says, should cover."""
