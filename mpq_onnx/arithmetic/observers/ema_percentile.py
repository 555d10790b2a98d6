"""Range observer "ema-percentile": an exponential moving average of each batch's outer percentiles."""

import numpy as np

from mpq_onnx.arithmetic.observers.ema_min_max import EmaMinMaxObserver
from mpq_onnx.arithmetic.observers.percentile import CUT
from mpq_onnx.arithmetic.quantization import Scheme


class EmaPercentileObserver:
    """The percentiles of observer "percentile", batch by batch, averaged as observer "ema" does."""

    def __init__(self) -> None:
        self.average = EmaMinMaxObserver()

    def update(self, values: np.ndarray) -> None:
        if values.size:
            self.average.update(np.quantile(values, [CUT, 1 - CUT], method="nearest"))

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        return self.average.range(levels, scheme)
