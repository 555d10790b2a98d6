"""A histogram of a stream whose range is not known beforehand, in fixed memory."""

import numpy as np

from mpq_onnx.ranks import Ranks

HALF_BINS = 4096
CACHED = 2**16
"""Numbers that are counted at once: they stay in a processor's cache."""
SMALLEST_WIDTH = 1e-37
"""Of a bin: below, float32 has no normal numbers left."""


class StreamingHistogram:
    """Counts of values around the bin centres k * width, k = -4096 .. 4096.

    Zero is a bin centre, so that the many exact zeros after a ReLU stay exact. When a value lies outside, the width
    doubles and neighbouring bins are merged; a centre halfway between two new ones is split evenly.

    Histograms that reached the same values in the same order have the same bins at every moment: the sum of what each counted
    is, to the last digit, what one would have counted.
    """

    def __init__(self) -> None:
        self.width = 0.0
        self.counts: np.ndarray = np.zeros(2 * HALF_BINS + 1)

    def update(self, values: np.ndarray) -> None:
        """Count finite `values` of any shape, whatever they reach."""
        self.reach(float(np.max(np.abs(values))) if values.size else 0.0)
        self.count(values)

    def reach(self, largest: float) -> None:
        """See that values of that magnitude have a bin."""
        if self.width == 0.0 and largest > 0.0:
            # Everything counted so far was zero, whose bin is the same at any width.
            self.width = max(largest / HALF_BINS, SMALLEST_WIDTH)
        while largest > self.width * (HALF_BINS + 0.5):
            self._double()

    def count(self, values: np.ndarray) -> None:
        """Count values of a magnitude that was reached."""
        if self.width == 0.0:
            self.counts[HALF_BINS] += values.size
            return
        values = values.ravel()
        for start in range(0, values.size, CACHED):
            bins = values[start : start + CACHED] / np.float32(self.width)
            np.rint(bins, out=bins)
            np.clip(bins, -HALF_BINS, HALF_BINS, out=bins)
            bins += HALF_BINS
            self.counts += np.bincount(bins.astype(np.intp), minlength=self.counts.size)

    @property
    def centres(self) -> np.ndarray:
        """The value that each bin stands for, ascending."""
        return np.arange(-HALF_BINS, HALF_BINS + 1) * self.width

    def quantile(self, q: float) -> float:
        """The bin centre below which a share `q` of all values lies."""
        cumulative = np.cumsum(self.counts)
        position = int(np.searchsorted(cumulative, q * cumulative[-1], side="left"))
        return float(self.centres[min(position, self.counts.size - 1)])

    def occupied(self) -> tuple[np.ndarray, np.ndarray]:
        """(centres, counts) of the bins that are not empty."""
        kept = np.flatnonzero(self.counts)
        return self.centres[kept], self.counts[kept]

    def merge(self, ranks: Ranks) -> None:
        """Add what the other ranks counted, which reached the same."""
        self.counts = ranks.sum(self.counts)

    def _double(self) -> None:
        self.width *= 2
        offsets = np.arange(-HALF_BINS, HALF_BINS + 1)
        below, above = (
            np.bincount(halved + HALF_BINS, self.counts / 2, self.counts.size)
            for halved in (offsets // 2, -(-offsets // 2))
        )
        self.counts = below + above
