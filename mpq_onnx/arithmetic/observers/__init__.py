"""Observers: how the range of a quantizer is found from the values that it will see.

An observer is fed batch by batch and holds a fixed amount of memory. One observer a file; a new one is one file and one line
in registries.OBSERVERS.
"""

from typing import Protocol

import numpy as np

from mpq_onnx.arithmetic.quantization import Scheme


class Observer(Protocol):
    """Watches one tensor."""

    def update(self, values: np.ndarray) -> None:
        """Take in the tensor's values of one batch (finite, any shape)."""

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        """The (low, high) that a quantizer of `levels` levels, set as `scheme` says, should cover."""
