"""Range observer "ema-percentile": an exponential moving average of each batch's outer percentiles."""

import numpy as np

from mpq_onnx.arithmetic.observers import extremes
from mpq_onnx.arithmetic.observers.ema_min_max import EmaMinMaxObserver
from mpq_onnx.arithmetic.observers.percentile import CUT


class EmaPercentileObserver(EmaMinMaxObserver):
    """The percentiles of observer "percentile", batch by batch, averaged as observer "ema" does."""

    def summary(self, values: np.ndarray) -> np.ndarray:
        if not values.size:
            return extremes(values)
        return np.quantile(values, [CUT, 1 - CUT], method="nearest").astype(np.float64)
