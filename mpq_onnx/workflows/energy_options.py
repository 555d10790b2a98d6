"""Options of an energy allocation: one typed record, checked before any work starts."""

import math
from dataclasses import dataclass

from mpq_onnx.errors import UsageError, check_choice
from mpq_onnx.noise import NOISE_MODELS
from mpq_onnx.noise.energy_levels import ENERGY_LEVELS
from mpq_onnx.precision.items import GRANULARITIES
from mpq_onnx.precision.methods import METHODS
from mpq_onnx.precision.targets import AUTO, TARGETS
from mpq_onnx.runtime.session import DEVICES
from mpq_onnx.workflows.options import check_training

COMPAT_NONE = "none"
COMPAT_GARG2021 = "garg2021"
COMPATS = (COMPAT_NONE, COMPAT_GARG2021)
ENERGY_TRAINING = ("method", "steps", "batch_size", "learning_rate", "penalty", "labels", "seed", "device")
"""Options that mean the energies' training where there is noise; all others are of the digital allocation before it."""


@dataclass(frozen=True)
class EnergyOptions:
    """How to allocate energies; the budget is an argument of its own."""

    noise: tuple[str, ...]
    """Names in NOISE_MODELS; all act together."""
    method: str = "refined"
    granularity: str = "layer"
    energy_levels: str = "any"
    compat: str = COMPAT_NONE
    steps: int = 150
    batch_size: int = 32
    learning_rate: float = 0.01
    penalty: float | None = None
    """None takes the noise model's own."""
    labels: str = AUTO
    """What the training holds the outputs to: auto, real, generated or distilled."""
    repeats: int = 4
    """Passes over the validation data with independent noise."""
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.noise:
            raise UsageError(f"give --noise, one or several of {', '.join(NOISE_MODELS)}")
        for name in self.noise:
            check_choice("noise", name, NOISE_MODELS)
        for option, choices in (
            ("method", METHODS),
            ("granularity", GRANULARITIES),
            ("energy_levels", ENERGY_LEVELS),
            ("compat", COMPATS),
            ("labels", TARGETS),
            ("device", DEVICES),
        ):
            check_choice(option.replace("_", "-"), getattr(self, option), choices)
        for option in ("steps", "batch_size", "repeats"):
            if getattr(self, option) < 1:
                raise UsageError(f"{option.replace('_', '-')} {getattr(self, option)}: must be at least 1")
        check_training(self.learning_rate, self.penalty)

    @property
    def chosen_penalty(self) -> float:
        """lambda."""
        if self.penalty is not None:
            return self.penalty
        return max(NOISE_MODELS[name].penalty for name in self.noise)

    @property
    def noises(self) -> tuple[str, ...]:
        """The noise models in their table's order, each once."""
        return tuple(name for name in NOISE_MODELS if name in self.noise)


def check_energy_budget(energy_per_mac: float, options: EnergyOptions) -> None:
    """Raise UsageError for a budget that no allowed energies keep."""
    smallest = ENERGY_LEVELS[options.energy_levels].smallest
    if not math.isfinite(energy_per_mac) or energy_per_mac <= 0 or energy_per_mac < smallest:
        least = f"{smallest:g} with whole repeats" if smallest else "any number above 0"
        raise UsageError(f"--energy-per-mac {energy_per_mac:g}: cannot be reached; the smallest is {least}")
