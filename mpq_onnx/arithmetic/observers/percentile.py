"""Range observer "percentile": cut a fixed share of the values at each end."""

import numpy as np

from mpq_onnx.arithmetic.observers.histogram_observer import HistogramObserver
from mpq_onnx.arithmetic.quantization import Scheme

CUT = 1e-4
"""Share of the values left outside at each end: the range holds the 0.01 to 99.99 percentiles."""


class PercentileObserver(HistogramObserver):
    """Reads the percentiles off a streaming histogram."""

    def range_of(
        self, centres: np.ndarray, counts: np.ndarray, levels: int, scheme: Scheme
    ) -> tuple[float, float]:
        return self.histogram.quantile(CUT), self.histogram.quantile(1 - CUT)
