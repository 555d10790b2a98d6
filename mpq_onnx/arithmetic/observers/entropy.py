"""Range observer "entropy": the range whose quantized distribution tells least apart from the real one.

For every threshold T, values beyond T are counted at T (that is P), P's bins are shared out among the quantizer's levels, and
every level's count is spread evenly over those of its bins that are not empty (that is Q). The threshold with the least
Kullback-Leibler divergence of Q from P is taken; this is the calibration that TensorRT made common (S. Migacz, "8-bit inference
with TensorRT", GTC 2017).
"""

import numpy as np

from mpq_onnx.arithmetic.observers.histogram_observer import HistogramObserver
from mpq_onnx.arithmetic.quantization import Scheme

SHARES = np.linspace(0.1, 1.0, 91)
"""Thresholds, as shares of the largest magnitude."""


class EntropyObserver(HistogramObserver):
    """Searches thresholds on a streaming histogram."""

    def range_of(
        self, centres: np.ndarray, counts: np.ndarray, levels: int, scheme: Scheme
    ) -> tuple[float, float]:
        low, high = min(float(centres[0]), 0.0), max(float(centres[-1]), 0.0)
        ranges = [
            (max(low, -threshold), min(high, threshold)) for threshold in SHARES * max(-low, high, 1e-30)
        ]
        return min(ranges, key=lambda ends: divergence(centres, counts, ends, levels, scheme))


def divergence(
    centres: np.ndarray, counts: np.ndarray, ends: tuple[float, float], levels: int, scheme: Scheme
) -> float:
    """Kullback-Leibler divergence (nats) of the distribution that is left by a quantizer of the range `ends`."""
    low, high = ends
    inside = (centres >= low) & (centres <= high)
    if not inside.any():
        return np.inf
    kept = centres[inside]
    clipped = counts[inside].astype(np.float64)
    spread_from = clipped.copy()
    clipped[0] += counts[centres < low].sum()
    clipped[-1] += counts[centres > high].sum()
    scale, zero_point, used = scheme.fit(np.float64(low), np.float64(high), levels)
    level = ((kept / scale).round() + zero_point).clip(0, used - 1).astype(int)
    totals = np.bincount(level, weights=spread_from)
    spread = totals[level] / np.bincount(level)[level]
    p, q = clipped / clipped.sum(), spread / spread.sum()
    return float((p * np.log(p / q)).sum())
