"""Range observer "mse": the range with the smallest mean squared quantization error, for each number of levels."""

import numpy as np

from mpq_onnx.observers.range_search import best_range
from mpq_onnx.observers.streaming_histogram import StreamingHistogram
from mpq_onnx.quantization import Scheme


class MseObserver:
    """Searches ranges inside the seen one, on a streaming histogram."""

    def __init__(self) -> None:
        self.histogram = StreamingHistogram()

    def update(self, values: np.ndarray) -> None:
        self.histogram.update(values)

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        centres, counts = self.histogram.occupied()
        if not centres.size:
            return 0.0, 0.0
        row = centres[None].astype(np.float32)
        low, high = best_range(row, np.array([levels], np.float32), counts[None], scheme)
        return float(low[0]), float(high[0])
