"""Target accelforge: a workload file a layer for AccelForge, with the widths of its tensors.

Ranks as AccelForge's own examples name them: N batch, G groups, C and M input and output channels of a group, P and Q height
and width of the output, R and S of the kernel, H and W of the input.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from mpq_onnx.files import write_text
from mpq_onnx.handoff_targets import csv_table
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.handoff_targets.loops import Loops, loops_of
from mpq_onnx.handoff_targets.target import Target

FLOAT_BITS = 32


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write NN_NAME.yaml a layer, in graph order, and layers.csv."""
    digits = len(str(len(bundle.layers)))
    for index, row in enumerate(bundle.layers):
        widths = (_mean(row.input_bits), _mean(row.weight_bits), _mean(row.output_bits))
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", row.name)
        text = yaml.safe_dump({"workload": workload(loops_of(row), *widths)}, sort_keys=False, width=120)
        write_text(folder / f"{index:0{digits}}_{name}.yaml", text)
    notes = csv_table.write(bundle, folder)
    mixed = [row.name for row in bundle.layers if isinstance(row.weight_bits, tuple)]
    if mixed:
        notes.append(
            f"one width a tensor: the mean of the channels in {', '.join(mixed)}; layers.csv has them all"
        )
    if bundle.is_noisy:
        notes.append(
            "energies per MAC are in layers.csv: AccelForge takes them as properties of an architecture"
        )
    return notes


def workload(loops: Loops, input_bits: float, weight_bits: float, output_bits: float) -> dict[str, Any]:
    """A layer as AccelForge's Workload takes it; the rank of groups is there where there are several."""
    sizes = {
        "N": loops.batch, "M": loops.outputs, "C": loops.inputs, "P": loops.height, "Q": loops.width,
        "R": loops.kernel_height, "S": loops.kernel_width, "H": loops.input_height, "W": loops.input_width,
    }  # fmt: skip
    group = {"G": "g"} if loops.groups > 1 else {}
    rows = f"{loops.stride_height} * p + {loops.dilation_height} * r"
    columns = f"{loops.stride_width} * q + {loops.dilation_width} * s"
    return {
        "rank_sizes": sizes | ({"G": loops.groups} if group else {}),
        "einsums": [
            {
                "name": "layer",
                "tensor_accesses": [
                    _access("input", {"N": "n", **group, "C": "c", "H": rows, "W": columns}, input_bits),
                    _access("weight", {**group, "M": "m", "C": "c", "R": "r", "S": "s"}, weight_bits),
                    _access("output", {"N": "n", **group, "M": "m", "P": "p", "Q": "q"}, output_bits)
                    | {"output": True},
                ],
            }
        ],
    }


def _access(name: str, projection: dict[str, str], bits: float) -> dict[str, Any]:
    return {
        "name": name,
        "projection": projection,
        "bits_per_value": int(bits) if bits == int(bits) else bits,
    }


def _mean(bits: float | tuple[float, ...] | None) -> float:
    if bits is None:
        return FLOAT_BITS
    return sum(bits) / len(bits) if isinstance(bits, tuple) else bits


TARGET = Target(write)
