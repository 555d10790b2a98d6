"""Target zigzag: the float graph with weight_size, act_size and output_size on every Conv, MatMul and Gemm, for ZigZag.

ZigZag reads shapes and widths, not values. onnx.checker rejects the attributes, so the file is for ZigZag alone. act_size is
the width of the input, output_size that of the partial sums.
"""

import math
from pathlib import Path

import onnx_ir as ir

from mpq_onnx.graph.model_file import save_model
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN
from mpq_onnx.handoff_targets.bundle import Bundle, Problem, mixed_channel_widths, refuse
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.handoff_targets.replacing import bypass, copied, fix_shapes, inline_composites, store_float
from mpq_onnx.handoff_targets.target import Target
from mpq_onnx.passes.explicit_windows import ExplicitWindowsPass
from mpq_onnx.passes.store_integers import remove_unused

WORKLOAD_FILE = "workload.onnx"
OPS = ("Conv", "MatMul", "Gemm")
FLOAT_BITS = 32
SPATIAL_AXES = 2
RANKS = (2, 3, 4)


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write workload.onnx."""
    refuse(
        bundle.path,
        "zigzag",
        [*mixed_channel_widths(bundle), *_inexpressible(bundle.layers)],
        "ZigZag takes whole widths, one a layer, and 2-D Conv, MatMul and Gemm; allocate with --granularity layer",
    )
    model, chains = copied(bundle)
    for chain in chains.activations:
        bypass(model, chain)
    for node in [each for each in model.graph if each.domain == DYNAMIC_DOMAIN]:
        source = node.inputs[0]
        assert source is not None
        ir.convenience.replace_all_uses_with(node.outputs[0], source, replace_graph_outputs=True)
    for weight in chains.weights:
        store_float(model, weight, bundle.exported_weight(weight).dequantized())
    inline_composites(model)
    remove_unused(model)
    ExplicitWindowsPass()(model)
    fix_shapes(model.graph, bundle.shapes)
    rows = {row.name: row for row in bundle.layers}
    for node in model.graph:
        if str(node.name) in rows:
            _annotate(node, rows[str(node.name)])
    save_model(model, folder / WORKLOAD_FILE)
    return (
        ["noise is left out; energies by layer are in the targets csv, json and timeloop"]
        if bundle.is_noisy
        else []
    )


def _inexpressible(rows: tuple[LayerRow, ...]) -> list[Problem]:
    problems = []
    for row in rows:
        if row.op not in OPS:
            problems.append(Problem(row.name, f"a {row.op}"))
        elif row.op == "Conv" and len(row.input_shape) != SPATIAL_AXES + 2:
            problems.append(Problem(row.name, f"a convolution over {len(row.input_shape) - 2} axes"))
        elif row.op != "Conv" and len(row.input_shape) not in RANKS:
            problems.append(Problem(row.name, f"an input of {len(row.input_shape)} axes"))
        widths = (row.weight_bits, row.input_bits)
        if any(isinstance(bits, float) and not bits.is_integer() for bits in widths):
            problems.append(Problem(row.name, "a fractional width"))
    return problems


def _annotate(node: ir.Node, row: LayerRow) -> None:
    weight_bits, input_bits = (_whole(bits) for bits in (row.weight_bits, row.input_bits))
    sum_bits = (
        FLOAT_BITS
        if FLOAT_BITS in (weight_bits, input_bits)
        else partial_sum_bits(weight_bits, input_bits, row.fan_in)
    )
    for name, bits in (("weight_size", weight_bits), ("act_size", input_bits), ("output_size", sum_bits)):
        node.attributes.add(ir.AttrInt64(name, bits))


def partial_sum_bits(weight_bits: int, input_bits: int, fan_in: int) -> int:
    """Width of an accumulator that never overflows: the product's bits, and log2 of the number of products."""
    return weight_bits + input_bits + math.ceil(math.log2(max(fan_in, 1)))


def _whole(bits: float | tuple[float, ...] | None) -> int:
    """A width; what is always zero still passes through memories of one bit."""
    assert not isinstance(bits, tuple)
    return FLOAT_BITS if bits is None else max(int(bits), 1)


TARGET = Target(write)
