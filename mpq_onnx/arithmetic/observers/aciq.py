"""Range observers "aciq-laplace" and "aciq-gauss": the clipping value that an assumed distribution makes best.

ACIQ (arXiv 1810.05723) adds the error of what is clipped to that of rounding, step^2 / 12, and takes the clipping value alpha
where the sum is least. With L levels on both sides of the mean, the step is 2 alpha / L and the derivative is zero where

    Laplace of scale b:      alpha / b = W(3 L^2), W the Lambert function;
    normal of deviation s:   2 r erfc(r / sqrt 2) - 2 sqrt(2 / pi) exp(-r^2 / 2) + 2 r / (3 L^2) = 0, r = alpha / s.

Where a ReLU has cut the negative half off, the levels share alpha instead of 2 alpha: 3 becomes 12. The scale and the deviation
then are those of the whole distribution, which is taken to be centred at zero.
"""

from abc import abstractmethod

import numpy as np

from mpq_onnx.arithmetic.observers.histogram_observer import HistogramObserver
from mpq_onnx.arithmetic.quantization import Scheme

BOTH_SIDES, ONE_SIDE = 3.0, 12.0
WIDEST = 50.0
"""Deviations; nothing lies further out."""


class AciqObserver(HistogramObserver):
    """Reads the distribution's parameter off the histogram."""

    def range_of(
        self, centres: np.ndarray, counts: np.ndarray, levels: int, scheme: Scheme
    ) -> tuple[float, float]:
        rectified = centres[0] >= 0
        mean = 0.0 if rectified else float(np.average(centres, weights=counts))
        # Half of a symmetric distribution is as far from zero as all of it, and the zeros are the other half.
        share = 2.0 if rectified else 1.0
        used = float(scheme.usable(levels))
        alpha = self.clipping_value(centres - mean, counts * share, counts.sum(), used, rectified)
        return max(mean - alpha, float(centres[0])), min(mean + alpha, float(centres[-1]))

    @abstractmethod
    def clipping_value(
        self, distances: np.ndarray, weights: np.ndarray, count: float, levels: float, rectified: bool
    ) -> float:
        """alpha, for values at `distances` from the mean, whose moments are sums with `weights` over `count`."""


class LaplaceAciqObserver(AciqObserver):
    """Assumes a Laplace distribution."""

    def clipping_value(
        self, distances: np.ndarray, weights: np.ndarray, count: float, levels: float, rectified: bool
    ) -> float:
        from scipy import special  # slow to load

        scale = float((np.abs(distances) * weights).sum() / count)
        sides = ONE_SIDE if rectified else BOTH_SIDES
        return scale * float(special.lambertw(sides * levels**2).real)


class GaussAciqObserver(AciqObserver):
    """Assumes a normal distribution."""

    def clipping_value(
        self, distances: np.ndarray, weights: np.ndarray, count: float, levels: float, rectified: bool
    ) -> float:
        from scipy import optimize, special  # slow to load

        deviation = float(np.sqrt((distances**2 * weights).sum() / count))
        sides = ONE_SIDE if rectified else BOTH_SIDES

        def slope(r: float) -> float:
            clipped = 2 * r * special.erfc(r / np.sqrt(2)) - 2 * np.sqrt(2 / np.pi) * np.exp(-(r**2) / 2)
            return float(clipped + 2 * r / (sides * levels**2))

        return deviation * float(optimize.brentq(slope, 0.0, WIDEST))
