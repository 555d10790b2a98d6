"""Range observer "ema": an exponential moving average of each batch's smallest and largest value."""

import numpy as np

from mpq_onnx.arithmetic.observers import Observer
from mpq_onnx.arithmetic.quantization import Scheme

GAMMA = 0.01
"""Weight of the newest batch (arXiv 2102.06366)."""


class EmaMinMaxObserver(Observer):
    """Starts at the first batch's range; each later batch moves it by GAMMA of the difference."""

    def __init__(self) -> None:
        self.ends: np.ndarray | None = None

    def follow(self, summary: np.ndarray) -> None:
        if summary[0] <= summary[1]:
            self.ends = summary if self.ends is None else (1 - GAMMA) * self.ends + GAMMA * summary

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        return (0.0, 0.0) if self.ends is None else (float(self.ends[0]), float(self.ends[1]))
