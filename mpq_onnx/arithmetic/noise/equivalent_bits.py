"""Noise-equivalent bits: the width of a quantizer whose rounding error is as large as some noise (arXiv 2102.06365)."""

import math

UNIFORM_ERROR = math.sqrt(12)
"""A quantizer of step s has rounding error of standard deviation s / sqrt(12)."""


def noise_equivalent_bits(value_range: float, deviation: float) -> float:
    """log2(ceil(range / (sqrt(12) sigma) + 1)).

    Args:
        value_range: largest minus smallest value of the signal; a signal of one value has 0 bits, noise or not.
        deviation: sigma, standard deviation of the noise; infinite bits where it is zero.
    """
    if value_range == 0:
        return 0.0
    if deviation == 0:
        return math.inf
    return math.log2(math.ceil(value_range / (UNIFORM_ERROR * deviation) + 1))
