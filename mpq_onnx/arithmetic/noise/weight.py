"""Read noise of the stored weights, relative to their full scale."""

from typing import Any

from mpq_onnx.arithmetic.noise.model import RELATIVE, Mac, NoiseModel

SIGMA = 0.1
"""Standard deviation at E = 1 in units of R_w (arXiv 2102.06365)."""


def weight_variance(mac: Mac) -> Any:
    """sigma^2 with sigma = 0.1 R_w / sqrt(E)."""
    deviation = SIGMA * mac.weight_range
    return deviation * deviation / mac.energy_per_mac


WEIGHT = NoiseModel("weight", RELATIVE, penalty=8.0, weight_variance=weight_variance, needs_weight_range=True)
