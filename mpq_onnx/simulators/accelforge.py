"""AccelForge: energy and latency of in-memory and photonic arrays, from circuits up (docs/simulators.md)."""

from typing import Any

from mpq_onnx.handoff_targets.accelforge import workload
from mpq_onnx.handoff_targets.loops import Loops
from mpq_onnx.simulators.environments import Environment
from mpq_onnx.simulators.job import ENERGY, LATENCY, Settings
from mpq_onnx.simulators.simulated import SimulatedTool
from mpq_onnx.simulators.worker import WORKERS

PHOTONIC = "albireo"
CONVERTER_BITS = 8
"""Of operands where only energies are told apart: the width of the photonic converters."""


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "optimize": settings.optimize,
        "adc_bits": settings.adc_bits,
        "laser_efficiency": settings.laser_efficiency,
        "variables": dict(each.split("=", 1) for each in settings.variable) or None,
    }


def _layer(loops: Loops, weight_bits: int | None, bits: int | None) -> tuple[dict[str, Any], int]:
    """Outputs have the width of inputs: those of the layer that reads them."""
    bits, weight_bits = bits or CONVERTER_BITS, weight_bits or CONVERTER_BITS
    return workload(loops.one_group, bits, weight_bits, bits), loops.groups


def _notes(settings: Settings) -> tuple[str, ...]:
    if settings.architecture == PHOTONIC:
        return (
            "converters have a fixed width: energies move it (--energies, --adc-bits), widths hardly do",
            f"light at the detectors is {settings.laser_efficiency:g} of the lasers' electrical energy (--laser-efficiency)",
        )
    return ("memory outside the chip is not counted",)


ACCELFORGE = SimulatedTool(
    environment=Environment(
        "accelforge", "accelforge", ("accelforge>=1.0.467,<2",), (3, 12), WORKERS / "build_accelforge.py"
    ),
    script="run_accelforge.py",
    resources=(LATENCY, ENERGY),
    default_architecture="isaac",
    architectures=(
        "isaac", "raella", "neurram", "jia", "wang", "colonnade", "sinangil", "basic_analog", PHOTONIC,
    ),
    file_kind="an architecture YAML in the form of AccelForge's compute_in_memory examples",
    energies=lambda architecture: True,  # lasers have a power, and an array in memory can repeat a product
    layer=_layer,
    options=_options,
    notes=_notes,
)  # fmt: skip
