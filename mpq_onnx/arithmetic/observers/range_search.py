"""Search for the quantization range with the smallest squared error, row by row."""

import numpy as np

from mpq_onnx.arithmetic.observers.outermost import Outermost
from mpq_onnx.arithmetic.observers.own_steps import own_steps
from mpq_onnx.arithmetic.observers.sorted_rows import SortedRows
from mpq_onnx.arithmetic.quantization import ASYMMETRIC, SCHEMES, Scheme, fake_quantize
from mpq_onnx.threads import side_by_side

JOINT_SHRINKS = np.linspace(1.0, 0.2, 41)
"""First both ends shrink together,"""
END_SHRINKS = np.linspace(1.3, 0.4, 19)
"""then each end moves alone around the best of those."""
SQUARED_SAFELY = 1e15
"""Squares of numbers some thousand times beyond it, and of errors a thousandth of its inverse, are float32 numbers."""
NUMBERS_A_LEVEL = 64
"""Of a row, from which on the way by levels is the faster one."""
RULED_OUT_FROM = 256
"""Numbers of a row, from which on it pays to look at the outermost ones first."""
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

        def best(part: slice) -> tuple[np.ndarray, np.ndarray]:
            return best_range(values[part], levels[part], None if weights is None else weights[part], scheme)

        low, high = zip(*side_by_side(best, parts), strict=True)
        return np.concatenate(low), np.concatenate(high)
    search = _Search(values, levels, weights, scheme)
    joint, ends = JOINT_SHRINKS[:, None], END_SHRINKS[:, None]
    search.consider(search.low * joint, search.high * joint)
    search.consider(search.low * ends, search.high + 0 * ends)
    search.consider(search.low + 0 * ends, search.high * ends)
    if weights is None:
        _consider_own_steps(search)
    return search.low, search.high


def _consider_own_steps(search: "_Search") -> None:
    """Ranges by which all levels of a scheme are multiples of the rows' own step, where they have one.

    Asymmetric schemes have the levels that are not used above or below the values, symmetric ones where they have to.
    """
    extremes = _extremes(search.values)
    steps = own_steps(search.values, *extremes, search.levels)
    has_step = np.isfinite(steps)
    if not has_step.any():
        return
    step, most = np.where(has_step, steps, 0), search.levels - 1
    half = np.floor(most / 2)
    lowest, highest = (np.round(end / np.where(has_step, steps, 1)) for end in extremes)
    firsts = np.stack([lowest, highest - most, half - most, -half])
    lasts = np.stack([lowest + most, highest, half, half])
    low, high = np.minimum(firsts, 0) * step, np.maximum(lasts, 0) * step
    search.consider(np.where(has_step, low, search.low), np.where(has_step, high, search.high))


class _Search:
    """The best range of every row so far; at first the whole one."""

    def __init__(
        self, values: np.ndarray, levels: np.ndarray, weights: np.ndarray | None, scheme: Scheme
    ) -> None:
        self.values, self.levels, self.weights, self.scheme = values, levels, weights, scheme
        self.low, self.high = _extremes(values)
        self.error = np.full(len(values), np.inf)
        most = int(levels.max())
        by_levels = values.shape[1] >= NUMBERS_A_LEVEL * most
        self.sorted = SortedRows(values, weights) if by_levels else None
        looks_first = not by_levels and values.shape[1] >= RULED_OUT_FROM
        self.outermost = Outermost.of(values, weights) if looks_first else None
        self.at_once = max(CACHED // (most if by_levels else values.shape[1]), 1)

    def consider(self, low: np.ndarray, high: np.ndarray) -> None:
        """Take the first candidate that leaves the least error, where that is less than so far.

        Args:
            low, high: [candidates, rows].
        """
        low, high = low.astype(np.float32), high.astype(np.float32)
        errors = self._errors(low, high)
        best = np.argmin(errors, axis=0)[None]
        error, low, high = (np.take_along_axis(each, best, 0)[0] for each in (errors, low, high))
        better = error < self.error
        for kept, found in ((self.error, error), (self.low, low), (self.high, high)):
            kept[better] = found[better]

    def _errors(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """[candidates, rows]; infinite where others are known to leave less."""
        scale, zero_point, used = np.broadcast_arrays(*self.scheme.fit(low, high, self.levels))
        least = (
            np.zeros(low.shape) if self.outermost is None else self.outermost.error(scale, zero_point, used)
        )
        errors, best = np.full(low.shape, np.inf), self.error.copy()
        candidates, rows = np.nonzero(self._new(scale, zero_point, used))
        while len(rows):
            now = candidates[: self.at_once], rows[: self.at_once]
            found = self._error_of(now[1], scale[now], zero_point[now], used[now])
            errors[now] = np.where(np.isnan(found), np.inf, found)
            np.minimum.at(best, now[1], errors[now])
            candidates, rows = candidates[self.at_once :], rows[self.at_once :]
            open_ones = ~(least[candidates, rows] > best[rows])
            candidates, rows = candidates[open_ones], rows[open_ones]
        return errors

    def _new(self, *quantizers: np.ndarray) -> np.ndarray:
        """[candidates, rows]: neither the quantizer of the candidate before nor the best so far.

        Args:
            quantizers: scale, zero point and levels, [candidates, rows]. Those of a symmetric scheme hang on one end alone.
        """
        of_best = self.scheme.fit(self.low, self.high, self.levels)
        new = np.any([each != best for each, best in zip(quantizers, of_best, strict=True)], axis=0)
        new |= np.isinf(self.error)
        new[1:] &= np.any([each[1:] != each[:-1] for each in quantizers], axis=0)
        return new

    def _error_of(
        self, rows: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, used: np.ndarray
    ) -> np.ndarray:
        """Of a quantizer each for `rows`, which may be there several times."""
        if self.sorted is not None:
            return self.sorted.squared_error(rows, scale, zero_point, used)
        weights = None if self.weights is None else self.weights[rows]
        return _squared_error(self.values[rows], scale, zero_point, used, weights)


def _extremes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every row, zero among its values."""
    return np.minimum(values.min(axis=1), 0), np.maximum(values.max(axis=1), 0)


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
    shape = np.shape(low)
    scale, zero_point, used = (
        np.broadcast_to(each, shape).reshape(-1) for each in scheme.fit(low, high, levels)
    )
    rows = np.broadcast_to(np.arange(len(values)), shape).reshape(-1)
    counts = None if weights is None else weights[rows]
    return _squared_error(values[rows], scale, zero_point, used, counts).reshape(shape)


def _squared_error(
    values: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    used: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    """The same of quantizers as Scheme.fit gives them, one a row."""
    difference = values - fake_quantize(values, scale[:, None], zero_point[:, None], used[:, None])
    largest = (np.maximum(zero_point, used - 1 - zero_point) * scale).max(initial=0.0)
    if not 1 / SQUARED_SAFELY < largest < SQUARED_SAFELY:  # float32 would make its square infinite, or zero
        difference = difference.astype(np.float64)
    error = difference**2 if weights is None else difference**2 * weights
    return error.sum(axis=1, dtype=np.float64)
