"""Search for the quantization range with the smallest squared error, row by row."""

import numpy as np

from mpq_onnx.arithmetic.quantization import ASYMMETRIC, SCHEMES, Scheme, fake_quantize

JOINT_SHRINKS = np.linspace(1.0, 0.2, 41)
"""First both ends shrink together,"""
END_SHRINKS = np.linspace(1.3, 0.4, 19)
"""then each end moves alone around the best of those."""
SQUARED_SAFELY = 1e15
"""Squares of numbers some thousand times beyond it, and of errors a thousandth of its inverse, are float32 numbers."""
CACHED = 2**17
"""Numbers that are searched at once: more do not stay in a processor's cache."""


def best_range(
    values: np.ndarray,
    levels: np.ndarray,
    weights: np.ndarray | None = None,
    scheme: Scheme = SCHEMES[ASYMMETRIC],
) -> tuple[np.ndarray, np.ndarray]:
    """The (low, high) of every row whose `levels`-level quantizer has the least sum of weights * error^2.

    Args:
        values: float32 [rows, n].
        levels: float32 [rows].
        weights: [rows, n], how much each value counts; equal when omitted.

    Returns:
        Two float32 [rows].
    """
    rows_at_once = max(CACHED // max(values.shape[1], 1), 1)
    parts = [slice(start, start + rows_at_once) for start in range(0, len(values), rows_at_once)]
    if len(parts) > 1:
        found = [
            best_range(values[part], levels[part], None if weights is None else weights[part], scheme)
            for part in parts
        ]
        low, high = zip(*found, strict=True)
        return np.concatenate(low), np.concatenate(high)
    low = np.minimum(values.min(axis=1), 0)
    high = np.maximum(values.max(axis=1), 0)
    best = np.full(len(values), np.inf)
    best_low, best_high = low.copy(), high.copy()

    def consider(candidate_low: np.ndarray, candidate_high: np.ndarray) -> None:
        error = squared_error(values, candidate_low, candidate_high, levels, weights, scheme)
        better = error < best
        best[better] = error[better]
        best_low[better], best_high[better] = candidate_low[better], candidate_high[better]

    for shrink in JOINT_SHRINKS:
        consider((low * shrink).astype(np.float32), (high * shrink).astype(np.float32))
    centre_low, centre_high = best_low.copy(), best_high.copy()
    for shrink in END_SHRINKS:
        consider((centre_low * shrink).astype(np.float32), best_high.copy())
    centre_high = best_high.copy()
    for shrink in END_SHRINKS:
        consider(best_low.copy(), (centre_high * shrink).astype(np.float32))
    return best_low, best_high


def squared_error(
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    levels: np.ndarray,
    weights: np.ndarray | None = None,
    scheme: Scheme = SCHEMES[ASYMMETRIC],
) -> np.ndarray:
    """Sum over each row of weights * (value - quantized value)^2; shapes as in best_range."""
    scale, zero_point, used = scheme.fit(low, high, levels)
    quantized = fake_quantize(values, scale[:, None], zero_point[:, None], np.asarray(used)[:, None])
    difference = values - quantized
    largest = max(-low.min(initial=0.0), high.max(initial=0.0))
    if not 1 / SQUARED_SAFELY < largest < SQUARED_SAFELY:  # float32 would make its square infinite, or zero
        difference = difference.astype(np.float64)
    error = difference**2
    return (error if weights is None else error * weights).sum(axis=1, dtype=np.float64)
