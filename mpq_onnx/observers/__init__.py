"""Observers: how the range of a quantizer is found from the values that it will see.

An observer is fed batch by batch and holds a fixed amount of memory. One observer a file; a new one is one file and one line
in OBSERVERS.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from mpq_onnx.observers.aciq import GaussAciqObserver, LaplaceAciqObserver
from mpq_onnx.observers.ema_min_max import EmaMinMaxObserver
from mpq_onnx.observers.ema_percentile import EmaPercentileObserver
from mpq_onnx.observers.entropy import EntropyObserver
from mpq_onnx.observers.min_max import MinMaxObserver
from mpq_onnx.observers.mse import MseObserver
from mpq_onnx.observers.percentile import PercentileObserver
from mpq_onnx.quantization import Scheme


class Observer(Protocol):
    """Watches one tensor."""

    def update(self, values: np.ndarray) -> None:
        """Take in the tensor's values of one batch (finite, any shape)."""

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        """The (low, high) that a quantizer of `levels` levels, set as `scheme` says, should cover."""


OBSERVERS: dict[str, Callable[[], Observer]] = {
    "minmax": MinMaxObserver,
    "ema": EmaMinMaxObserver,
    "percentile": PercentileObserver,
    "ema-percentile": EmaPercentileObserver,
    "mse": MseObserver,
    "aciq-laplace": LaplaceAciqObserver,
    "aciq-gauss": GaussAciqObserver,
    "entropy": EntropyObserver,
}

__all__ = ["OBSERVERS", "Observer"]
