"""Energy and its units: photons (shot noise), attojoules, or relative to the energy at which a model's constant was stated."""

from collections.abc import Sequence

from mpq_onnx.arithmetic.noise.model import PHOTONS, RELATIVE
from mpq_onnx.registries import NOISE_MODELS

ATTOJOULES_PER_PHOTON = 0.128
"""At 1.55 um."""


def energy_unit(noises: Sequence[str]) -> str:
    """Unit of energy_per_mac for some noise models together: photons as soon as one of them counts photons."""
    units = {NOISE_MODELS[name].unit for name in noises}
    return PHOTONS if PHOTONS in units else RELATIVE


def attojoules(energy: float, unit: str) -> float | None:
    """`energy` in aJ; None where the unit is relative."""
    return energy * ATTOJOULES_PER_PHOTON if unit == PHOTONS else None
