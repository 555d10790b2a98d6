"""What quantizers leave of the outermost numbers of rows: error enough to rule out a range that cuts too much off."""

from dataclasses import dataclass

import numpy as np

SHARE, FEWEST = 1 / 32, 8
"""Of a row's numbers that are looked at, at either end."""
SURELY = 1 - 1e-3
"""Of an error: what float32 cannot have got wrong."""


@dataclass(frozen=True)
class Outermost:
    """The numbers at both ends of every row, and how much each counts."""

    values: np.ndarray
    """float64 [rows, numbers]."""
    weights: np.ndarray | None
    """The same shape; None where all count alike."""

    @staticmethod
    def of(values: np.ndarray, weights: np.ndarray | None) -> "Outermost":
        """Args: as of range_search.best_range."""
        length = values.shape[1]
        count = max(int(length * SHARE), FEWEST)
        if 2 * count >= length:
            found = values, weights
        elif weights is None:
            ordered = np.partition(values, (count - 1, length - count), axis=1)
            found = np.concatenate([ordered[:, :count], ordered[:, -count:]], axis=1), None
        else:
            order = np.argpartition(values, (count - 1, length - count), axis=1)
            ends = np.concatenate([order[:, :count], order[:, -count:]], axis=1)
            found = np.take_along_axis(values, ends, 1), np.take_along_axis(weights, ends, 1)
        return Outermost(found[0].astype(np.float64), found[1])

    def error(self, scale: np.ndarray, zero_point: np.ndarray, used: np.ndarray) -> np.ndarray:
        """No more than the sum over each row of weights * (value - quantized value)^2: that of the numbers cut off.

        Args:
            scale, zero_point, used: [..., rows], quantizers as quantization.Scheme.fit gives them.
        """
        step = scale.astype(np.float64)
        lowest, highest = (-zero_point * step)[..., None], ((used - 1 - zero_point) * step)[..., None]
        error = (self.values - self.values.clip(lowest).clip(max=highest)) ** 2
        return SURELY * (error if self.weights is None else error * self.weights).sum(axis=-1)
