"""Range observer "minmax": the smallest and the largest value seen."""

import math

import numpy as np

from mpq_onnx.arithmetic.quantization import Scheme


class MinMaxObserver:
    """Covers everything; one outlier widens the range for good."""

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf

    def update(self, values: np.ndarray) -> None:
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)
