"""Rows of numbers in order, with sums up to each: the error of a quantizer in time of its levels, whatever the row's length.

Numbers between two thresholds go to one level c. With the sums S0, S1, S2 of weights, weights * value and weights * value^2
between them, their error is S2 - 2 c S1 + c^2 S0.
"""

import numpy as np

INSIDE = 0.4
"""Rows lie one behind the other on a line, each within so much of its number."""
SMALLEST_SHARE = 1e-13
"""Of a row's sum of squares: what float64 loses in the sums. A row whose error is below lies on the levels."""


class SortedRows:
    """Of one length."""

    def __init__(self, values: np.ndarray, weights: np.ndarray | None) -> None:
        """Args: as of range_search.best_range."""
        rows, self.length = values.shape
        if weights is None:
            ordered, counts = np.sort(values, axis=1).astype(np.float64), np.ones(values.shape)
        else:
            order = np.argsort(values, axis=1)
            ordered, counts = (
                np.take_along_axis(each, order, 1).astype(np.float64) for each in (values, weights)
            )
        self.reach = np.maximum(np.abs(ordered).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        self.line = self._on_line(ordered, np.arange(rows)[:, None]).ravel()
        self.weights, self.values = _sums(counts), _sums(counts * ordered)
        self.squares = (counts * ordered**2).sum(axis=1)

    def squared_error(
        self, rows: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, used: np.ndarray
    ) -> np.ndarray:
        """Sum over each of `rows` of weights * (value - quantized value)^2.

        Args:
            rows: [quantizers], which row each is for.
            scale, zero_point, used: [quantizers], as quantization.Scheme.fit gives them.
        """
        steps = np.arange(int(used.max())) - zero_point[:, None]  # [quantizers, levels]
        last = (used - 1 - zero_point)[:, None]
        step = scale.astype(np.float64)[:, None]
        # Behind the last level there is none to go to.
        thresholds = np.where(steps[:, :-1] < last, (steps[:, :-1] + 0.5) * step, np.inf)
        rows = rows[:, None]
        inner = np.searchsorted(self.line, self._on_line(thresholds, rows)) - rows * self.length
        first = np.zeros((len(rows), 1), inner.dtype)
        ends = np.concatenate([first, inner, first + self.length], axis=1)
        weight, value = (np.diff(sums[rows, ends], axis=1) for sums in (self.weights, self.values))
        level = np.minimum(steps, last) * step
        squares = self.squares[rows[:, 0]]
        error = squares + ((level * weight - 2 * value) * level).sum(axis=1)
        return np.where(error < SMALLEST_SHARE * squares, 0.0, error)

    def _on_line(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Where `values`, [any, numbers], of `rows`, [any, 1], lie among all rows."""
        return (values / (4 * self.reach[rows[:, 0]])).clip(-INSIDE, INSIDE) + rows


def _sums(numbers: np.ndarray) -> np.ndarray:
    """Up to each of a row, [rows, n + 1]."""
    return np.concatenate([np.zeros((len(numbers), 1)), np.cumsum(numbers, axis=1, dtype=np.float64)], axis=1)
