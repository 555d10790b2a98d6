"""Range observer "ema": an exponential moving average of each batch's smallest and largest value."""

import numpy as np

from mpq_onnx.arithmetic.quantization import Scheme

GAMMA = 0.01
"""Weight of the newest batch (arXiv 2102.06366)."""


class EmaMinMaxObserver:
    """Starts at the first batch's range; each later batch moves it by GAMMA of the difference."""

    def __init__(self) -> None:
        self.ends: np.ndarray | None = None

    def update(self, values: np.ndarray) -> None:
        if not values.size:
            return
        seen = np.array([values.min(), values.max()], dtype=np.float64)
        self.ends = seen if self.ends is None else (1 - GAMMA) * self.ends + GAMMA * seen

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        return (0.0, 0.0) if self.ends is None else (float(self.ends[0]), float(self.ends[1]))
