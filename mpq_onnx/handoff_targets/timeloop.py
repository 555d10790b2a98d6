"""Target timeloop: a problem file a layer for Timeloop v4 and CiMLoop, with widths and histograms of the values.

Dimensions as Timeloop names them: N batch, G groups, C and M input and output channels of a group, P and Q height and width of
the output, R and S of the kernel. A product of matrices has its rows in P.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from mpq_onnx.files import write_text
from mpq_onnx.graph.operators import RECURRENT_OPS
from mpq_onnx.handoff_targets.bundle import Bundle, Problem, refuse
from mpq_onnx.handoff_targets.histograms import ValueHistogram, layer_histograms
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.handoff_targets.loops import SPATIAL_AXES, loops_of
from mpq_onnx.handoff_targets.target import Target

VERSION = "0.4"
FLOAT_BITS = 32
DIMENSIONS = ["N", "G", "C", "M", "P", "Q", "R", "S"]
COEFFICIENTS = ("Hstride", "Wstride", "Hdilation", "Wdilation")


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write NN_NAME.yaml a layer, in graph order."""
    refuse(
        bundle.path,
        "timeloop",
        _inexpressible(bundle.layers),
        "Timeloop's problems are 1-D and 2-D convolutions and products of matrices",
    )
    histograms = layer_histograms(bundle)
    digits = len(str(len(bundle.layers)))
    for index, row in enumerate(bundle.layers):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", row.name)
        document = {"problem": _problem(row, histograms[row.name])}
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)
        write_text(folder / f"{index:0{digits}}_{name}.yaml", text)
    return (
        ["noise models are named in `noise`; Timeloop itself does not read them"] if bundle.is_noisy else []
    )


def _inexpressible(rows: tuple[LayerRow, ...]) -> list[Problem]:
    return [
        Problem(row.name, f"a {row.op}" + (f" over {len(row.kernel_shape)} axes" if row.kernel_shape else ""))
        for row in rows
        if row.op in ("ConvTranspose", "Einsum", *RECURRENT_OPS)
        or (row.kernel_shape is not None and len(row.kernel_shape) > SPATIAL_AXES)
    ]


def _problem(row: LayerRow, histograms: dict[str, ValueHistogram]) -> dict[str, Any]:
    problem: dict[str, Any] = {
        "version": VERSION,
        "name": row.name,
        "operator": row.op,
        "instance": _instance(row),
        "shape": {
            "name": "grouped_convolution",
            "dimensions": DIMENSIONS,
            "coefficients": [{"name": name, "default": 1} for name in COEFFICIENTS],
            "data_spaces": [
                {"name": "Weights", "projection": [[[each]] for each in ("G", "M", "C", "R", "S")]},
                {
                    "name": "Inputs",
                    "projection": [
                        [["N"]],
                        [["G"]],
                        [["C"]],
                        [["R", "Hdilation"], ["P", "Hstride"]],
                        [["S", "Wdilation"], ["Q", "Wstride"]],
                    ],
                },
                {
                    "name": "Outputs",
                    "projection": [[[each]] for each in ("N", "G", "M", "P", "Q")],
                    "read_write": True,
                },
            ],
        },
        "variables": {
            "ENCODED_WEIGHT_BITS": _bits(row.weight_bits),
            "ENCODED_INPUT_BITS": _bits(row.input_bits),
            "ENCODED_OUTPUT_BITS": _bits(row.output_bits),
        },
        "histograms": {name: each.probabilities for name, each in histograms.items()},
        "histogram_limits": {name: each.limit for name, each in histograms.items()},
    }
    if row.energy_per_mac is not None:
        problem["noise"] = {
            "models": list(row.noise),
            "energy_per_mac": _plain(row.energy_per_mac),
            "energy_unit": row.energy_unit,
        }
    return problem


def _instance(row: LayerRow) -> dict[str, int]:
    """Sizes of the loops of one example."""
    loops = loops_of(row)
    sizes = {
        "N": loops.batch,
        "G": loops.groups, "C": loops.inputs, "M": loops.outputs, "P": loops.height, "Q": loops.width,
        "R": loops.kernel_height, "S": loops.kernel_width,
    }  # fmt: skip
    steps = (loops.stride_height, loops.stride_width, loops.dilation_height, loops.dilation_width)
    return sizes | dict(zip(COEFFICIENTS, steps, strict=True))


def _bits(bits: float | tuple[float, ...] | None) -> float | list[float]:
    return FLOAT_BITS if bits is None else _plain(bits)


def _plain(value: float | tuple[float, ...]) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


TARGET = Target(write)
