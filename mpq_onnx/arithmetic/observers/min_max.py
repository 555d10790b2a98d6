"""Range observer "minmax": the smallest and the largest value seen."""

import math

import numpy as np

from mpq_onnx.arithmetic.observers import Observer
from mpq_onnx.arithmetic.quantization import Scheme


class MinMaxObserver(Observer):
    """Covers everything; one outlier widens the range for good."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf

    def follow(self, summary: np.ndarray) -> None:
        self.low, self.high = min(self.low, float(summary[0])), max(self.high, float(summary[1]))

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)
