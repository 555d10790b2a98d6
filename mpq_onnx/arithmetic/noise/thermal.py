"""Thermal (Johnson) noise of the analog accumulation, relative to the full scale of weights and inputs."""

from typing import Any

from mpq_onnx.arithmetic.noise.model import RELATIVE, Mac, NoiseModel

SIGMA = 0.01
"""Standard deviation of one product at E = 1 in units of R_w * R_x (arXiv 2102.06365)."""


def output_variance(mac: Mac) -> Any:
    """sigma^2 with sigma = 0.01 sqrt(D / E) R_w R_x."""
    one_product = SIGMA * mac.weight_range * mac.input_range
    return mac.fan_in * one_product * one_product / mac.energy_per_mac


THERMAL = NoiseModel(
    "thermal",
    RELATIVE,
    penalty=8.0,
    output_variance=output_variance,
    needs_weight_range=True,
    needs_input_range=True,
)
