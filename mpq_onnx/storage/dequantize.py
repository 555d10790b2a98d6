"""The DequantizeLinear node that every storage form ends with."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.model_file import add_initializer


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
        scale: float32 [channels].
        zero_point: [channels] in the type of `integers`, or None for zero.
        dtype: ONNX type of `zero_point`, where numpy has no type of that name.
    """
    inputs = [integers, add_initializer(graph, f"{tensor}_scale", scale.astype(np.float32))]
    if zero_point is not None:
        inputs.append(add_initializer(graph, f"{tensor}_zero_point", zero_point, dtype))
    node = ir.node(
        "DequantizeLinear",
        inputs,
        {"axis": axis},
        outputs=[ir.Value(name=f"{tensor}_dequantized", type=ir.TensorType(ir.DataType.FLOAT))],
        name=f"{tensor}_dequantize",
    )
    after = integers.producer()
    if after is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(after, node)
    return node.outputs[0]
