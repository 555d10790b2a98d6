"""Target qcdq: QuantizeLinear, Clip, DequantizeLinear around weights and activations, standard operators as Brevitas uses them.

The limits of the Clip tell the width: QONNX's QCDQToQuant and hardware tools read it from there. Weights stay float in front.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import dequantize
from mpq_onnx.graph.model_file import add_initializer, save_model
from mpq_onnx.graph.operators import PASS_THROUGH
from mpq_onnx.handoff_targets.bundle import (
    MODEL_FILE,
    Bundle,
    Problem,
    foreign_quantizers,
    mixed_channel_widths,
    noise,
    refuse,
)
from mpq_onnx.handoff_targets.integer_range import ExportedActivation, exported_activation
from mpq_onnx.handoff_targets.qdq_nodes import CLIPPED_BITS, WIDEST_BITS, quantizer_nodes
from mpq_onnx.handoff_targets.replacing import copied, inline_composites, replace_chain
from mpq_onnx.handoff_targets.target import Target
from mpq_onnx.passes.explicit_windows import ExplicitWindowsPass
from mpq_onnx.passes.insert_qdq import clip_node, fuses_wrongly
from mpq_onnx.passes.repeat_quantizers import RepeatQuantizersPass
from mpq_onnx.passes.store_integers import remove_unused


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
        nodes = quantizer_nodes(
            model.graph,
            chain.source,
            exported.scale,
            exported.zero_point,
            exported.integers,
            None,
            str(chain.result.name),
        )
        if fuses_wrongly(chain.source):
            nodes.insert(0, _clip_before(model.graph, nodes[0], exported))
        replace_chain(model, chain, nodes)
    for weight in chains.weights:
        if weight.is_bias:
            _write_zero_point(model, weight.dequantize, weight.zero_point)
            continue
        stored = bundle.exported_weight(weight)
        name = str(weight.result.name)
        values = add_initializer(model.graph, f"{name}_float", stored.dequantized())
        nodes = quantizer_nodes(
            model.graph,
            values,
            stored.scale,
            stored.zero_point,
            stored.integers,
            stored.channel_axis,
            name,
        )
        replace_chain(model, weight, nodes)
    ExplicitWindowsPass()(model)
    RepeatQuantizersPass(PASS_THROUGH, (ir.DataType.INT8,))(model)
    inline_composites(model)
    remove_unused(model)
    save_model(model, folder / MODEL_FILE)
    return []


def _clip_before(graph: ir.Graph, quantize: ir.Node, exported: ExportedActivation) -> ir.Node:
    """A Clip to what the integers stand for, which keeps onnxruntime from fusing what would then be another kernel."""
    ends = np.array([exported.integers.lowest, exported.integers.highest], np.float32)
    limits = dequantize(ends, exported.scale, exported.zero_point.astype(np.float32)).astype(np.float32)
    value = quantize.inputs[0]
    assert value is not None
    clip = clip_node(graph, f"{quantize.name}_source", value, limits.reshape(-1))
    quantize.replace_input_with(0, clip.outputs[0])
    return clip


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


def _write_zero_point(model: ir.Model, dequantize: ir.Node, zero_point: np.ndarray) -> None:
    """Spell the zero point of a bias out: readers of QCDQ expect three inputs."""
    if len(dequantize.inputs) > 2 and dequantize.inputs[2] is not None:
        return
    integers = dequantize.inputs[0]
    assert integers is not None and integers.const_value is not None
    kind = integers.const_value.numpy().dtype
    zero = add_initializer(
        model.graph, f"{dequantize.outputs[0].name}_qcdq_zero_point", zero_point.astype(kind)
    )
    dequantize.resize_inputs(3)
    dequantize.replace_input_with(2, zero)


TARGET = Target(write, runs_in_onnxruntime=True)
