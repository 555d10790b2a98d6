"""Options of a profile. Nothing that computes is loaded for them."""

import math
from dataclasses import dataclass

from mpq_onnx.errors import UsageError
from mpq_onnx.runs.declared import MACHINE, METHOD, check_options, option

OPTIMIZE = ("edp", "energy", "latency")


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """What is profiled, and how."""

    architecture: str | None = option(
        None, METHOD, "Hardware that is simulated: a name, or a file (docs/simulators.md).", metavar="FILE|NAME",
        shown_default="tpu_like, systolic_32x32, isaac",
    )  # fmt: skip
    weight_bits: tuple[float, ...] | None = option(
        None,
        METHOD,
        "Widths of weights, every pair with those of activations.",
        shown_default="2 to 8; those of a quantized MODEL",
    )
    activation_bits: tuple[float, ...] | None = option(
        None, METHOD, "Widths of activations.", shown_default="8; those of a quantized MODEL"
    )
    energies: tuple[float, ...] | None = option(
        None, METHOD, "Energies per MAC instead of widths, where the hardware is analog: photons, or repeats in memory.",
        shown_default="none; those of a noisy MODEL",
    )  # fmt: skip
    optimize: str = option(
        "edp",
        METHOD,
        "What a simulator's mapper looks for: energy times delay, or one of them.",
        choices=OPTIMIZE,
    )
    clock_mhz: float = option(1000.0, METHOD, "Clock of simulators that count cycles.", above=0)
    adc_bits: int | None = option(
        None, METHOD, "accelforge: resolution of the converters.", least=1, most=16,
        shown_default="the architecture's; what the noise leaves, with energies",
    )  # fmt: skip
    laser_efficiency: float = option(
        1e-3,
        METHOD,
        "accelforge: light at the detectors over electrical energy of the lasers.",
        above=0,
        most=1,
    )
    variable: tuple[str, ...] = option(
        (), METHOD, "accelforge: a variable of the architecture, such as scaling=aggressive (repeatable).",
        metavar="NAME=VALUE",
    )  # fmt: skip
    python: str | None = option(
        None, MACHINE, "Interpreter of the simulator's environment.", metavar="PATH",
        shown_default="MPQ_ONNX_<NAME>_PYTHON, else what --install made",
    )  # fmt: skip
    threads: int = option(1, MACHINE, "onnxruntime: threads of one run.", least=1)
    runs: int = option(
        100, MACHINE, "onnxruntime: runs of every file, of which the tenth percentile counts.", least=3
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("weight_bits", "activation_bits"):
            for bits in getattr(self, name) or ():
                if not (bits == int(bits) and 1 <= bits <= 32):
                    raise UsageError(
                        f"--{name.replace('_', '-')} {bits:g}: whole widths from 1 to 32 are profiled"
                    )
        for variable in self.variable:
            if not all(variable.partition("=")):
                raise UsageError(f"--variable {variable}: write NAME=VALUE")
        for energy in self.energies or ():
            if not 0 < energy < math.inf:
                raise UsageError(f"--energies {energy:g}: give numbers above 0")
        if self.energies and (self.weight_bits or self.activation_bits):
            raise UsageError(
                "--energies stands instead of --weight-bits and --activation-bits: profile twice for both"
            )
