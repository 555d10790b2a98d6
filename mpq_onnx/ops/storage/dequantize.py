"""The DequantizeLinear node that every storage form ends with."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer


def is_shared(entries: np.ndarray) -> bool:
    """True where several channels have one entry in common."""
    return len(entries) > 1 and bool((entries == entries[0]).all())


def dequantize_node(
    graph: ir.Graph,
    tensor: str,
    integers: ir.Value,
    scale: np.ndarray,
    zero_point: np.ndarray | None,
    axis: int,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """Insert, at the graph's start, the node that makes float `tensor` of `integers`; returns its output.

    Args:
        scale: float32 [channels]; one scalar is written where all are the same.
        zero_point: [channels] in the type of `integers`, or None for zero.
        dtype: ONNX type of `zero_point`, where numpy has no type of that name.
    """
    attributes = {"axis": axis}
    if is_shared(scale) and (zero_point is None or is_shared(zero_point)):
        scale, zero_point = scale[0], None if zero_point is None else zero_point[0]
        attributes = {}
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
