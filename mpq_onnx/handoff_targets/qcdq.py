"""Target qcdq: QuantizeLinear, Clip, DequantizeLinear around weights and activations, standard operators as Brevitas uses them.

The limits of the Clip tell the width: QONNX's QCDQToQuant and hardware tools read it from there. Weights stay float in front.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from mpq_onnx.handoff_targets.bundle import (
    MODEL_FILE,
    Bundle,
    Problem,
    foreign_quantizers,
    mixed_channel_widths,
    noise,
    refuse,
)
from mpq_onnx.handoff_targets.integer_range import IntegerRange, exported_activation
from mpq_onnx.handoff_targets.replacing import copied, replace_chain
from mpq_onnx.model_file import add_initializer, save_model
from mpq_onnx.passes.explicit_windows import ExplicitWindowsPass
from mpq_onnx.passes.store_integers import remove_unused

CLIPPED_BITS = 8
"""onnxruntime clips integers of 8 bits, not of 16."""
WIDEST_BITS = 16


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write model.onnx."""
    refuse(
        bundle.path,
        "qcdq",
        [*noise(bundle), *foreign_quantizers(bundle), *mixed_channel_widths(bundle), *_unclipped(bundle)],
        "hand off the noise-free file, made with --granularity layer, static ranges and widths of 1 to 8, or 16 bits",
    )
    model, chains = copied(bundle)
    for chain in chains.activations:
        exported = exported_activation(chain)
        nodes = _nodes(
            model,
            chain.source,
            exported.scale,
            exported.zero_point,
            exported.integers,
            None,
            str(chain.result.name),
        )
        replace_chain(model, chain, nodes)
    for weight in chains.weights:
        if weight.is_bias:
            _write_zero_point(model, weight.dequantize, weight.zero_point)
            continue
        stored = bundle.exported_weight(weight)
        name = str(weight.result.name)
        values = add_initializer(model.graph, f"{name}_float", stored.dequantized())
        axis = stored.axis if stored.scale.size > 1 else None
        nodes = _nodes(model, values, stored.scale, stored.zero_point, stored.integers, axis, name)
        replace_chain(model, weight, nodes)
    ExplicitWindowsPass()(model)
    remove_unused(model)
    save_model(model, folder / MODEL_FILE)
    return []


def _unclipped(bundle: Bundle) -> list[Problem]:
    """Quantizers whose integers need a Clip that onnxruntime does not have."""
    widths = [("an activation", chain.node, chain.levels) for chain in bundle.chains.activations]
    widths += [
        ("a weight", chain.node, int(bundle.weight_levels(chain).max()))
        for chain in bundle.chains.weights
        if not chain.is_bias
    ]
    return [
        Problem(node, f"{kind} of 9 to 15 bits")
        for kind, node, levels in widths
        if 2**CLIPPED_BITS < levels != 2**WIDEST_BITS
    ]


def _nodes(
    model: ir.Model,
    value: ir.Value,
    scale: np.ndarray,
    zero_point: np.ndarray,
    integers: IntegerRange,
    axis: int | None,
    name: str,
) -> list[ir.Node]:
    graph = model.graph
    wide = integers.bits > CLIPPED_BITS
    dtype = np.dtype(f"{'int' if integers.is_signed else 'uint'}{WIDEST_BITS if wide else CLIPPED_BITS}")
    shape = scale.shape if axis is not None else ()
    steps = add_initializer(graph, f"{name}_qcdq_scale", scale.reshape(shape))
    zero = add_initializer(graph, f"{name}_qcdq_zero_point", zero_point.reshape(shape).astype(dtype))
    attributes = {} if axis is None else {"axis": axis}
    nodes = [ir.node("QuantizeLinear", [value, steps, zero], attributes, name=f"{name}_quantize_linear")]
    if integers.levels < 2 ** (8 * dtype.itemsize):
        limits = np.array([integers.lowest, integers.highest], dtype)
        ends = [
            add_initializer(graph, f"{name}_qcdq_{end}", limits[i]) for i, end in enumerate(("low", "high"))
        ]
        nodes.append(ir.node("Clip", [nodes[-1].outputs[0], *ends], name=f"{name}_clip"))
    nodes.append(
        ir.node(
            "DequantizeLinear",
            [nodes[-1].outputs[0], steps, zero],
            attributes,
            name=f"{name}_dequantize_linear",
        )
    )
    for node in nodes[:-1]:
        result = node.outputs[0]
        result.name, result.shape = f"{node.name}d", value.shape
        result.type = ir.TensorType(ir.DataType.from_numpy(dtype))
    return nodes


def _write_zero_point(model: ir.Model, dequantize: ir.Node, zero_point: np.ndarray) -> None:
    """Spell the zero point of a bias out: readers of QCDQ expect three inputs."""
    if len(dequantize.inputs) > 2 and dequantize.inputs[2] is not None:
        return
    zero = add_initializer(
        model.graph, f"{dequantize.outputs[0].name}_qcdq_zero_point", zero_point.astype(np.int32)
    )
    dequantize.resize_inputs(3)
    dequantize.replace_input_with(2, zero)
