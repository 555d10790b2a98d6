"""Files for the tools that take over: a target is one file here and one line in TARGETS. No torch here.

A target's `write` puts its files into a folder and returns notes for the reader; it refuses, with the list of nodes, what its
format cannot express.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.handoff_targets import (
    accelforge,
    csv_table,
    json_table,
    onnxruntime,
    qcdq,
    qonnx,
    scalesim,
    tensorrt,
    timeloop,
    zigzag,
)
from mpq_onnx.handoff_targets.bundle import Bundle


@dataclass(frozen=True)
class Target:
    """One format."""

    write: Callable[[Bundle, Path], list[str]]
    runs_in_onnxruntime: bool = False
    """Its model.onnx is checked against the golden tensors."""


TARGETS: dict[str, Target] = {
    "qonnx": Target(qonnx.write),
    "qcdq": Target(qcdq.write, runs_in_onnxruntime=True),
    "zigzag": Target(zigzag.write),
    "timeloop": Target(timeloop.write),
    "accelforge": Target(accelforge.write),
    "scalesim": Target(scalesim.write),
    "csv": Target(csv_table.write),
    "json": Target(json_table.write),
    "tensorrt": Target(tensorrt.write, runs_in_onnxruntime=True),
    "ort": Target(onnxruntime.write, runs_in_onnxruntime=True),
}

__all__ = ["TARGETS", "Target"]
