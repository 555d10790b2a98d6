"""Observers: how the range of a quantizer is found from the values that it will see.

An observer is fed batch by batch and holds a fixed amount of memory. One observer a file; a new one (ACIQ, entropy, EMA
percentile, ...) is one file and one line in OBSERVERS.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from mpq_onnx.observers.ema_min_max import EmaMinMaxObserver
from mpq_onnx.observers.min_max import MinMaxObserver
from mpq_onnx.observers.mse import MseObserver
from mpq_onnx.observers.percentile import PercentileObserver


class Observer(Protocol):
    """Watches one tensor."""

    def update(self, values: np.ndarray) -> None:
        """Take in the tensor's values of one batch (finite, any shape)."""

    def range(self, levels: int) -> tuple[float, float]:
        """The (low, high) that a quantizer of `levels` levels should cover."""


OBSERVERS: dict[str, Callable[[], Observer]] = {
    "minmax": MinMaxObserver,
    "ema": EmaMinMaxObserver,
    "percentile": PercentileObserver,
    "mse": MseObserver,
}

__all__ = ["OBSERVERS", "Observer"]
