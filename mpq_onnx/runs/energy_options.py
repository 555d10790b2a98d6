"""Options of an energy allocation: one typed record, checked before any work starts."""

from dataclasses import dataclass

from mpq_onnx.errors import UsageError
from mpq_onnx.registries import (
    BANK,
    COMPAT_NONE,
    COMPATS,
    ENERGY_LEVELS,
    GRANULARITIES,
    LARGEST_ENERGY,
    NOISE_DRAWS,
    NOISE_MODELS,
    SMALLEST_ENERGY,
)
from mpq_onnx.runs.declared import NOISE, option
from mpq_onnx.runs.learning_options import LearningOptions
from mpq_onnx.runs.limit_texts import check_table_given
from mpq_onnx.runs.target_options import take
from mpq_onnx.targets.description import ANALOG_NAMES


@dataclass(frozen=True)
class EnergyOptions(LearningOptions):
    """How to allocate energies; the budget is an argument of its own."""

    noise: tuple[str, ...] = option(
        (), NOISE, "Energy per MAC under this noise instead of bits; several act together. Repeatable.",
        choices=NOISE_MODELS,
    )  # fmt: skip
    granularity: str = option(
        "layer", NOISE, "An energy per layer or per output channel.", choices=GRANULARITIES
    )
    energy_levels: str = option(
        "any",
        NOISE,
        "Energies that can be had: any, or whole repeats.",
        choices=ENERGY_LEVELS,
    )
    noise_draws: str = option(
        BANK, NOISE, "bank: random rows of a bank of normals, drawn anew in every run (fast); exact: a normal an element"
        " (docs/ops).",
        choices=NOISE_DRAWS,
    )  # fmt: skip
    compat: str = option(
        COMPAT_NONE, NOISE, "garg2021: fan-in of grouped convolutions as in the code of arXiv 2102.06365, for comparisons.",
        choices=COMPATS,
    )  # fmt: skip
    repeats: int = option(4, NOISE, "Passes over the validation data with independent noise.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.noise:  # another package's may be none
            NOISE_MODELS[name]

    def keep_to_target(self) -> None:
        """As LearningOptions says; without --noise all noise models of the device act."""
        target = self.device_target
        noise = None if target is None else target.analog_option("noise")
        if noise is not None and not self.noise:
            object.__setattr__(self, "noise", noise.values)
        if not self.noise:
            raise UsageError(f"give --noise, one or several of {', '.join(NOISE_MODELS)}")
        if target is not None:
            take(self, ANALOG_NAMES, target)

    @property
    def chosen_penalty(self) -> float:
        """lambda; the noise model's own, where none was given."""
        if self.penalty is not None:
            return self.penalty
        return max(NOISE_MODELS[name].penalty for name in self.noise)

    @property
    def noises(self) -> tuple[str, ...]:
        """The noise models in their table's order, each once."""
        return tuple(name for name in NOISE_MODELS if name in self.noise)


def check_energy_budget(energy_per_mac: float | None, options: EnergyOptions) -> None:
    """Raise UsageError for a budget that no allowed energies keep, and where there is none, or no table that a limit is on."""
    check_table_given(options.limits, (), options.costs is not None)
    if energy_per_mac is None and not options.max:
        raise UsageError(
            "--noise: give --energy-per-mac, the mean that may be spent, or --max of a column of --costs"
        )
    if energy_per_mac is None:
        return
    allowed = ENERGY_LEVELS[options.energy_levels]
    smallest = max(allowed.smallest, SMALLEST_ENERGY)
    if not smallest <= energy_per_mac <= LARGEST_ENERGY:
        raise UsageError(
            f"--energy-per-mac {energy_per_mac:g}: cannot be reached; the smallest is {smallest:g}"
            f"{' with whole repeats' if allowed.smallest else ''}, the largest {LARGEST_ENERGY:g}"
        )
