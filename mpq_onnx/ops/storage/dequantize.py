"""The DequantizeLinear node that every storage form ends with."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.weights import QuantizedWeight
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer


def bias_axis(scale: np.ndarray, axis: int) -> int | None:
    """`axis`, for dequantize_node; None where several channels of a bias have one scale in common.

    Whole numbers of 32 bits have no levels to tell apart: the scale is all there is of their quantizer.
    """
    return None if len(scale) > 1 and bool((scale == scale[0]).all()) else axis


def weight_axis(weight: QuantizedWeight) -> int | None:
    """The axis of the channels, for dequantize_node; None where several channels have one quantizer in common.

    One scale is not enough for that: which of a type's integers are a channel's levels is its own, where zero stands elsewhere
    among them, or where they are fewer, than in the others.
    """
    shared = len(weight.grid.scale) > 1 and weight.grid.is_per_tensor
    return None if shared else weight.channel_axis


def dequantize_node(
    graph: ir.Graph,
    tensor: str,
    integers: ir.Value,
    scale: np.ndarray,
    zero_point: np.ndarray | None,
    axis: int | None,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """Insert, at the graph's start, the node that makes float `tensor` of `integers`; returns its output.

    Args:
        scale: float32 [channels].
        zero_point: [channels] in the type of `integers`, or None for zero.
        axis: of the channels; None where all have the same quantizer, which is then written once, as a scalar.
        dtype: ONNX type of `zero_point`, where numpy has no type of that name.
    """
    attributes = {} if axis is None else {"axis": axis}
    if axis is None:
        scale, zero_point = scale[0], None if zero_point is None else zero_point[0]
    inputs = [integers, add_initializer(graph, f"{tensor}_scale", np.asarray(scale, np.float32))]
    if zero_point is not None:
        inputs.append(add_initializer(graph, f"{tensor}_zero_point", np.asarray(zero_point), dtype))
    node = ir.node(
        "DequantizeLinear",
        inputs,
        attributes,
        outputs=[
            ir.Value(name=fresh_name(graph, f"{tensor}_dequantized"), type=ir.TensorType(ir.DataType.FLOAT))
        ],
        name=fresh_node_name(graph, f"{tensor}_dequantize"),
    )
    after = integers.producer()
    if after is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(after, node)
    return node.outputs[0]
