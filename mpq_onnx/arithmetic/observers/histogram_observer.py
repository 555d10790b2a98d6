"""What observers that read their range off a streaming histogram have in common."""

from abc import abstractmethod

import numpy as np

from mpq_onnx.arithmetic.observers import Observer
from mpq_onnx.arithmetic.observers.streaming_histogram import StreamingHistogram
from mpq_onnx.arithmetic.quantization import Scheme
from mpq_onnx.ranks import Ranks


class HistogramObserver(Observer):
    """Counts all values; a tensor that was never seen has the range 0, 0."""

    def __init__(self) -> None:
        self.histogram = StreamingHistogram()

    def follow(self, summary: np.ndarray) -> None:
        self.histogram.reach(float(max(-summary[0], summary[1], 0.0)))

    def count(self, values: np.ndarray) -> None:
        self.histogram.count(values)

    def merge(self, ranks: Ranks) -> None:
        self.histogram.merge(ranks)

    def range(self, levels: int, scheme: Scheme) -> tuple[float, float]:
        centres, counts = self.histogram.occupied()
        return self.range_of(centres, counts, levels, scheme) if centres.size else (0.0, 0.0)

    @abstractmethod
    def range_of(
        self, centres: np.ndarray, counts: np.ndarray, levels: int, scheme: Scheme
    ) -> tuple[float, float]:
        """The (low, high) for values at `centres`, ascending, that occurred `counts` times."""
