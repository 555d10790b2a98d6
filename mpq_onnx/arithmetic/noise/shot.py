"""Shot noise of an optical multiply-accumulate: photons arrive one by one."""

from typing import Any

from mpq_onnx.arithmetic.noise.model import PHOTONS, Mac, NoiseModel


def output_variance(mac: Mac) -> Any:
    """sigma^2 with sigma = ||x|| ||w|| / sqrt(D E), norms over the products that make the output (arXiv 2102.06365)."""
    return mac.input_square_sum * (mac.weight_square_sum / (mac.fan_in * mac.energy_per_mac))


SHOT = NoiseModel("shot", PHOTONS, penalty=2.0, output_variance=output_variance)
