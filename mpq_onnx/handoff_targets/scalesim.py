"""Target scalesim: a topology for SCALE-Sim, a line a layer.

SCALE-Sim has no groups, no widths and no dilation: a line is one group of a layer, and layers.csv says how many there are and
all else. A dilated kernel is given with the products that it has, on the input that a dense one of its size has.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from mpq_onnx.files import write_text
from mpq_onnx.handoff_targets import csv_table
from mpq_onnx.handoff_targets.bundle import Bundle, Problem, refuse
from mpq_onnx.handoff_targets.loops import Loops, loops_of
from mpq_onnx.handoff_targets.target import Target

TOPOLOGY_FILE = "topology.csv"
HEADER = (
    "Layer name", "IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter", "Strides"
)  # fmt: skip
DEPTHWISE = "DP"
"""In a name, it makes SCALE-Sim write a layer out once a channel."""


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write topology.csv and layers.csv."""
    lines = [(row.name, topology_line(loops_of(row))) for row in bundle.layers]
    refuse(
        bundle.path,
        "scalesim",
        [Problem(name, "two strides") for name, line in lines if line[-1] != line[-2]],
        "a line of its topology has one stride",
    )
    names = _names([name for name, _ in lines])
    rows = [HEADER, *((name, *map(str, line[:-1])) for name, (_, line) in zip(names, lines, strict=True))]
    # Its reader drops what stands behind the last comma.
    write_text(folder / TOPOLOGY_FILE, "".join(",".join(row) + ",\n" for row in rows))
    notes = csv_table.write(bundle, folder)
    grouped = [row.name for row in bundle.layers if loops_of(row).groups * loops_of(row).batch > 1]
    if grouped:
        notes.append(f"one group of {', '.join(grouped)}: its cycles count once a group")
    notes.append("SCALE-Sim has words, not widths: those are in layers.csv")
    return notes


def topology_line(loops: Loops) -> list[int]:
    """Height and width of the input, of the kernel, channels, filters, strides down and across, of one group."""
    plain = (loops.kernel_height, loops.kernel_width, loops.stride_height, loops.stride_width) == (1, 1, 1, 1)
    if plain:  # rows of a product of matrices may lie along one axis
        return [loops.height * loops.width, 1, 1, 1, loops.inputs, loops.outputs, 1, 1]
    height = (loops.height - 1) * loops.stride_height + loops.kernel_height
    width = (loops.width - 1) * loops.stride_width + loops.kernel_width
    return [
        height, width, loops.kernel_height, loops.kernel_width, loops.inputs, loops.outputs, *_strides(loops)
    ]  # fmt: skip


def _strides(loops: Loops) -> tuple[int, int]:
    """Down and across; an axis with one output takes no step, so the other's stride is as good as its own."""
    down = loops.stride_width if loops.height == 1 else loops.stride_height
    return down, down if loops.width == 1 else loops.stride_width


def _names(nodes: Sequence[str]) -> list[str]:
    """Names that differ: a recurrent layer has two lines, and two nodes may differ in what a name cannot hold."""
    found: list[str] = []
    for node in nodes:
        name = plain = _name(node)
        count = 1
        while name in found:
            count += 1
            name = f"{plain}_{count}"
        found.append(name)
    return found


def _name(node: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", node).replace(DEPTHWISE, "Dp")


TARGET = Target(write)
