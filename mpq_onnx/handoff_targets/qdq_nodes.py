"""QuantizeLinear, Clip and DequantizeLinear nodes, as the targets in standard operators write them."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.handoff_targets.integer_range import IntegerRange

CLIPPED_BITS = 8
"""onnxruntime clips integers of 8 bits, not of 16."""
WIDEST_BITS = 16


def quantizer_nodes(
    graph: ir.Graph,
    value: ir.Value,
    scale: np.ndarray,
    zero_point: np.ndarray,
    integers: IntegerRange,
    axis: int | None,
    name: str,
) -> list[ir.Node]:
    """Q and DQ of `value`, and between them a Clip where the type has more integers than `integers`.

    Args:
        axis: of the channels; None for one scale.
    """
    wide = integers.bits > CLIPPED_BITS
    dtype = np.dtype(f"{'int' if integers.is_signed else 'uint'}{WIDEST_BITS if wide else CLIPPED_BITS}")
    shape = scale.shape if axis is not None else ()
    steps = add_initializer(graph, f"{name}_qdq_scale", scale.reshape(shape))
    zero = add_initializer(graph, f"{name}_qdq_zero_point", zero_point.reshape(shape).astype(dtype))
    nodes = [_node(graph, "QuantizeLinear", [value, steps, zero], axis, f"{name}_quantize_linear")]
    if integers.levels < 2 ** (8 * dtype.itemsize):
        limits = np.array([integers.lowest, integers.highest], dtype)
        ends = [
            add_initializer(graph, f"{name}_qdq_{end}", limits[i]) for i, end in enumerate(("low", "high"))
        ]
        clip = fresh_node_name(graph, f"{name}_clip")
        nodes.append(ir.node("Clip", [nodes[-1].outputs[0], *ends], name=clip))
    for node in nodes:
        result = node.outputs[0]
        result.name, result.shape = fresh_name(graph, f"{node.name}_integers"), value.shape
        result.type = ir.TensorType(ir.DataType.from_numpy(dtype))
    last = nodes[-1].outputs[0]
    return [*nodes, _node(graph, "DequantizeLinear", [last, steps, zero], axis, f"{name}_dequantize_linear")]


def stored_weight_node(
    graph: ir.Graph,
    values: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    axis: int | None,
    dtype: ir.DataType,
    name: str,
) -> ir.Node:
    """DQ of the integers `values`, stored in `dtype`; `axis` as above."""
    inputs = [
        add_initializer(graph, f"{name}_integers", values.astype(dtype.numpy()), dtype),
        add_initializer(graph, f"{name}_qdq_scale", scale),
        add_initializer(graph, f"{name}_qdq_zero_point", zero_point.astype(dtype.numpy()), dtype),
    ]
    return _node(graph, "DequantizeLinear", inputs, axis, f"{name}_dequantize_linear")


def _node(graph: ir.Graph, op_type: str, inputs: list[ir.Value], axis: int | None, name: str) -> ir.Node:
    attributes = {} if axis is None else {"axis": axis}
    return ir.node(op_type, inputs, attributes, name=fresh_node_name(graph, name))
