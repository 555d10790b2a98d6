"""Search for the quantization range with the smallest squared error, row by row."""

import numpy as np

from mpq_onnx.arithmetic.observers.sorted_rows import SortedRows
from mpq_onnx.arithmetic.quantization import ASYMMETRIC, SCHEMES, Scheme, fake_quantize

JOINT_SHRINKS = np.linspace(1.0, 0.2, 41)
"""First both ends shrink together,"""
END_SHRINKS = np.linspace(1.3, 0.4, 19)
"""then each end moves alone around the best of those."""
SQUARED_SAFELY = 1e15
"""Squares of numbers some thousand times beyond it, and of errors a thousandth of its inverse, are float32 numbers."""
NUMBERS_A_LEVEL = 32
"""Of a row, from which on the way by levels is the faster one."""
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
    search = _Search(values, levels, weights, scheme)
    joint, ends = JOINT_SHRINKS[:, None], END_SHRINKS[:, None]
    search.consider(search.low * joint, search.high * joint)
    search.consider(search.low * ends, search.high + 0 * ends)
    search.consider(search.low + 0 * ends, search.high * ends)
    return search.low, search.high


class _Search:
    """The best range of every row so far; at first the whole one."""

    def __init__(
        self, values: np.ndarray, levels: np.ndarray, weights: np.ndarray | None, scheme: Scheme
    ) -> None:
        self.values, self.levels, self.weights, self.scheme = values, levels, weights, scheme
        self.low = np.minimum(values.min(axis=1), 0)
        self.high = np.maximum(values.max(axis=1), 0)
        self.error = np.full(len(values), np.inf)
        most = int(levels.max())
        by_levels = values.shape[1] >= NUMBERS_A_LEVEL * most
        self.rows = SortedRows(values, weights) if by_levels else None
        self.at_once = max(CACHED // (len(values) * most if by_levels else values.size), 1)

    def consider(self, low: np.ndarray, high: np.ndarray) -> None:
        """Take the first candidate that leaves the least error, where that is less than so far.

        Args:
            low, high: [candidates, rows].
        """
        low, high = low.astype(np.float32), high.astype(np.float32)
        for start in range(0, len(low), self.at_once):
            some = slice(start, start + self.at_once)
            self._consider(low[some], high[some])

    def _consider(self, low: np.ndarray, high: np.ndarray) -> None:
        errors = self._errors(low, high)
        best = np.argmin(np.where(np.isnan(errors), np.inf, errors), axis=0)[None]
        error, low, high = (np.take_along_axis(each, best, 0)[0] for each in (errors, low, high))
        better = error < self.error
        for kept, found in ((self.error, error), (self.low, low), (self.high, high)):
            kept[better] = found[better]

    def _errors(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        if self.rows is None:
            given = self.levels, self.weights, self.scheme
            if len(low) == 1:  # numpy takes longer for a stack of one matrix
                return squared_error(self.values, low[0], high[0], *given)[None]
            return squared_error(self.values, low, high, *given)
        scale, zero_point, used = self.scheme.fit(low, high, self.levels)
        return self.rows.squared_error(scale, zero_point, np.broadcast_to(used, low.shape))


def squared_error(
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    levels: np.ndarray,
    weights: np.ndarray | None = None,
    scheme: Scheme = SCHEMES[ASYMMETRIC],
) -> np.ndarray:
    """Sum over each row of weights * (value - quantized value)^2.

    Args:
        low, high: [rows], or [..., rows] for several ranges of each row; the sums have their shape.
        values, levels, weights: as in best_range.
    """
    scale, zero_point, used = scheme.fit(low, high, levels)
    quantized = fake_quantize(values, scale[..., None], zero_point[..., None], np.asarray(used)[..., None])
    difference = values - quantized
    largest = max(-low.min(initial=0.0), high.max(initial=0.0))
    if not 1 / SQUARED_SAFELY < largest < SQUARED_SAFELY:  # float32 would make its square infinite, or zero
        difference = difference.astype(np.float64)
    error = difference**2 if weights is None else difference**2 * weights
    # Rows of a matrix are added up faster than those of a stack of matrices.
    return error.reshape(-1, values.shape[-1]).sum(axis=1, dtype=np.float64).reshape(low.shape)
