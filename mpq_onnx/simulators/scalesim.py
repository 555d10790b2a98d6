"""SCALE-Sim: cycles of a systolic array, stalls of its memories included (docs/simulators.md)."""

from typing import Any

from mpq_onnx.handoff_targets.scalesim import topology_line
from mpq_onnx.simulators.environments import Environment
from mpq_onnx.simulators.job import LATENCY, Settings
from mpq_onnx.simulators.simulated import SimulatedTool


def _options(settings: Settings) -> dict[str, Any]:
    return {"clock_mhz": settings.clock_mhz}


SCALESIM = SimulatedTool(
    # SCALE-Sim 3.0 makes numbers of arrays with one element, which numpy 2.4 no longer allows.
    environment=Environment("scalesim", "scalesim", ("scalesim>=3,<4", "numpy<2.4"), (3, 10)),
    script="run_scalesim.py",
    resources=(LATENCY,),
    default_architecture="systolic_32x32",
    architectures=("systolic_32x32", "systolic_16x16", "systolic_128x128"),
    file_kind="a configuration (.cfg) of SCALE-Sim",
    energies=lambda architecture: False,
    layer=lambda loops, weight_bits, bits: (topology_line(loops), loops.groups * loops.batch),
    options=_options,
    notes=lambda settings: (
        "SCALE-Sim counts words: widths move how many pass an interface a cycle and lie in a buffer, not the array itself",
    ),
)
