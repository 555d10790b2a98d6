"""Storage "packed": every weight takes just its bits in the file.

Tensors whose channels all have 4, 8 or 16 bits use ONNX's own types. Any other mix lies in one bit stream, read back by a
model-local function of standard operators (see bit_stream.py), which onnxruntime evaluates once, when it loads the file.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import stored_bits
from mpq_onnx.arithmetic.weights import QuantizedWeight, channels_first
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.ops.storage import int8
from mpq_onnx.ops.storage.bit_stream import add_unpack_function, pack, unpack_node
from mpq_onnx.ops.storage.centred import centre
from mpq_onnx.ops.storage.dequantize import dequantize_node, weight_axis


def write_weight(model: ir.Model, tensor: str, weight: QuantizedWeight) -> ir.Value:
    """Add `weight` to the graph in the fewest bytes."""
    widths = np.array([stored_bits(int(levels)) for levels in weight.grid.levels])
    same = set(widths.tolist())  # a pruned channel has no bits, which only the stream can store
    if same in ({8}, {16}):
        return int8.write_weight(model, tensor, weight)
    if same == {4}:
        return _write_uint4(model, tensor, weight)
    return _write_stream(model, tensor, weight, widths)


def _write_uint4(model: ir.Model, tensor: str, weight: QuantizedWeight) -> ir.Value:
    dtype = ir.DataType.UINT4
    integers = add_initializer(
        model.graph, f"{tensor}_quantized", weight.integers.astype(dtype.numpy()), dtype
    )
    zero_point = weight.grid.zero_point.astype(np.int32).astype(dtype.numpy())
    return dequantize_node(
        model.graph, tensor, integers, weight.grid.scale, zero_point, weight_axis(weight), dtype
    )


def _write_stream(model: ir.Model, tensor: str, weight: QuantizedWeight, widths: np.ndarray) -> ir.Value:
    """The stream as initializers, and the nodes that make the centred weight of it again."""
    graph, axis = model.graph, weight.channel_axis
    add_unpack_function(model)
    moved = channels_first(weight.integers, axis)
    centred = centre(weight)
    offset = centred.offset.reshape(-1, *[1] * (moved.ndim - 1)).astype(np.int32)
    read = unpack_node(
        add_initializer(graph, f"{tensor}_packed", pack(moved.reshape(len(widths), -1), widths)),
        add_initializer(graph, f"{tensor}_widths", widths.astype(np.uint8)),
        add_initializer(graph, f"{tensor}_shape", np.array(moved.shape, np.int64)),
        name=fresh_node_name(graph, f"{tensor}_unpack"),
    )
    shift = ir.node(
        "Sub",
        [read.outputs[0], add_initializer(graph, f"{tensor}_offset", offset)],
        name=fresh_node_name(graph, f"{tensor}_shift"),
    )
    container = ir.DataType.from_numpy(centred.integers.dtype)
    cast = fresh_node_name(graph, f"{tensor}_cast")
    nodes = [read, shift, ir.node("Cast", shift.outputs, {"to": int(container)}, name=cast)]
    if axis:
        order = list(range(1, weight.integers.ndim))
        order.insert(axis, 0)
        turn = fresh_node_name(graph, f"{tensor}_transpose")
        nodes.append(ir.node("Transpose", nodes[-1].outputs, {"perm": order}, name=turn))
    nodes[-1].outputs[0].name = fresh_name(graph, f"{tensor}_quantized")
    graph.insert_before(graph[0], nodes)
    return dequantize_node(
        graph, tensor, nodes[-1].outputs[0], weight.grid.scale, centred.zero_point, weight_axis(weight)
    )
