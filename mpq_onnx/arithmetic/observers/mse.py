"""Range observer "mse": the range with the smallest mean squared quantization error, for each number of levels."""

import numpy as np

from mpq_onnx.arithmetic.observers.histogram_observer import HistogramObserver
from mpq_onnx.arithmetic.observers.range_search import best_range
from mpq_onnx.arithmetic.quantization import Scheme


class MseObserver(HistogramObserver):
    """Searches ranges inside the seen one, on a streaming histogram."""

    def range_of(
        self, centres: np.ndarray, counts: np.ndarray, levels: int, scheme: Scheme
    ) -> tuple[float, float]:
        row = centres[None].astype(np.float32)
        low, high = best_range(row, np.array([levels], np.float32), counts[None], scheme)
        return float(low[0]), float(high[0])
