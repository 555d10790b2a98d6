"""Target qonnx: Quant operators of domain qonnx.custom_op.general, for QONNX, FINN and hls4ml.

Quant(x, scale, zero_point, bit_width) rounds half to even, as QuantizeLinear does. Weights stay float in front of their Quant;
biases are plain float. Symmetric quantizers are signed with zero point 0, those behind a ReLU unsigned with zero point 0.
Shapes are those of one example.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_node_name
from mpq_onnx.graph.model_file import add_initializer, save_model
from mpq_onnx.handoff_targets.bundle import (
    MODEL_FILE,
    Bundle,
    foreign_quantizers,
    mixed_channel_widths,
    noise,
    refuse,
)
from mpq_onnx.handoff_targets.integer_range import IntegerRange, exported_activation
from mpq_onnx.handoff_targets.qonnx_arithmetic import in_standard_operators
from mpq_onnx.handoff_targets.replacing import (
    copied,
    fix_shapes,
    inline_composites,
    replace_chain,
    store_float,
)
from mpq_onnx.handoff_targets.target import Target
from mpq_onnx.passes.explicit_windows import ExplicitWindowsPass
from mpq_onnx.passes.store_integers import remove_unused

DOMAIN = "qonnx.custom_op.general"
VERSION = 1


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write model.onnx; returns what a reader should know."""
    refuse(
        bundle.path,
        "qonnx",
        [*noise(bundle), *foreign_quantizers(bundle), *mixed_channel_widths(bundle)],
        "hand off the noise-free file, made with --granularity layer and --activation-ranges static",
    )
    model, chains = copied(bundle)
    model.graph.opset_imports[DOMAIN] = VERSION
    shifted: list[str] = []
    for chain in chains.activations:
        exported = exported_activation(chain)
        node = _quant(
            model,
            chain.source,
            exported.scale,
            exported.zero_point,
            exported.integers,
            str(chain.result.name),
        )
        replace_chain(model, chain, [node])
        shifted += [str(chain.source.name)] if exported.zero_point.any() else []
    for weight in chains.weights:
        stored = bundle.exported_weight(weight)
        values = stored.dequantized()
        if weight.is_bias:
            store_float(model, weight, values)
            continue
        name = str(weight.result.name)
        shape = stored.broadcast_shape
        node = _quant(
            model,
            add_initializer(model.graph, f"{name}_float", values),
            stored.scale.reshape(shape),
            stored.zero_point.reshape(shape),
            stored.integers,
            name,
        )
        replace_chain(model, weight, [node])
        shifted += [name] if stored.zero_point.any() else []
    ExplicitWindowsPass()(model)
    fix_shapes(model.graph, bundle.shapes)
    inline_composites(model)
    remove_unused(model)
    save_model(model, folder / MODEL_FILE)
    if not shifted:
        return []
    return [
        f"{len(shifted)} of the Quant nodes have a zero point other than 0: QONNX runs them, but FINN, hls4ml and QONNX's"
        " inference_cost want 0; allocate with --weight-scheme symmetric --activation-scheme symmetric-unsigned"
    ]


def _quant(
    model: ir.Model,
    value: ir.Value,
    scale: np.ndarray,
    zero_point: np.ndarray,
    integers: IntegerRange,
    name: str,
) -> ir.Node:
    if not _has_whole_ends(integers):
        zero_point = zero_point - integers.lowest
        integers = IntegerRange(0, integers.levels - 1)
    width = integers.bits if integers.is_narrow else integers.exact_bits
    inputs = [
        value,
        add_initializer(model.graph, f"{name}_quant_scale", scale.astype(np.float32)),
        add_initializer(model.graph, f"{name}_quant_zero_point", zero_point.astype(np.float32)),
        add_initializer(model.graph, f"{name}_quant_bit_width", np.array(width, np.float32)),
    ]
    signed, narrow = int(integers.is_signed), int(integers.is_narrow)
    attributes: dict[str, int | str] = {"signed": signed, "narrow": narrow, "rounding_mode": "ROUND"}
    return ir.node(
        "Quant", inputs, attributes, domain=DOMAIN, name=fresh_node_name(model.graph, f"{name}_quant")
    )


def _has_whole_ends(integers: IntegerRange) -> bool:
    """False for an odd count of signed integers: QONNX halves it, unless one pattern of whole bits is left out."""
    return not integers.is_signed or integers.levels % 2 == 0 or integers.is_narrow


TARGET = Target(write, in_standard_operators=in_standard_operators)
