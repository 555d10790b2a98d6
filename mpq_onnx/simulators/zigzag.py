"""ZigZag: analytical costs of the best mapping of a layer onto an accelerator, digital or in memory (docs/simulators.md)."""

from typing import Any

from mpq_onnx.simulators.environments import Environment
from mpq_onnx.simulators.job import ENERGY, LATENCY, Settings
from mpq_onnx.simulators.simulated import SimulatedTool

IN_MEMORY = ("aimc", "dimc")
"""Shipped architectures whose clock period is computed."""


def _options(settings: Settings) -> dict[str, Any]:
    return {"clock_mhz": settings.clock_mhz, "optimize": settings.optimize}


def _notes(settings: Settings) -> tuple[str, ...]:
    if settings.architecture in IN_MEMORY:
        return ("the clock of an array in memory is the one that ZigZag computes for it",)
    return ("the energy of a multiplier is the architecture's at every width: widths move what memories do",)


ZIGZAG = SimulatedTool(
    environment=Environment("zigzag", "zigzag-dse", ("zigzag-dse>=3.9", "six"), (3, 11)),
    script="run_zigzag.py",
    resources=(LATENCY, ENERGY),
    default_architecture="tpu_like",
    architectures=(
        "tpu_like", "edge_tpu_like", "tesla_npu_like", "ascend_like", "meta_prototype", "eyeriss_like",
        "gemm_l1", "gemm_l1_l3", "aimc", "dimc",
    ),
    file_kind="an accelerator YAML of ZigZag",
    energies=lambda architecture: False,
    layer=lambda loops, weight_bits, bits: (loops.document(), 1),
    options=_options,
    notes=_notes,
)  # fmt: skip
