"""Storage "packed": every weight takes just its bits in the file.

Tensors whose channels all have 4, 8 or 16 bits use ONNX's own types. Any other mix lies in one bit stream, read back by a
model-local function of standard operators (see bit_stream.py), which onnxruntime evaluates once, when it loads the file.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.model_file import add_initializer
from mpq_onnx.quantization import stored_bits
from mpq_onnx.storage.bit_stream import add_unpack_function, pack, unpack_node
from mpq_onnx.storage.dequantize import dequantize_node
from mpq_onnx.weights import QuantizedWeight

NATIVE_TYPES = {4: ir.DataType.UINT4, 8: ir.DataType.UINT8, 16: ir.DataType.UINT16}


def write_weight(model: ir.Model, tensor: str, weight: QuantizedWeight) -> ir.Value:
    """Add `weight` to the graph in the fewest bytes."""
    widths = np.array([stored_bits(int(levels)) for levels in weight.grid.levels])
    native = NATIVE_TYPES.get(int(widths[0])) if len(set(widths.tolist())) == 1 else None
    dtype = native or (ir.DataType.UINT8 if widths.max() <= 8 else ir.DataType.UINT16)
    if native is not None:
        integers = add_initializer(
            model.graph, f"{tensor}_quantized", weight.integers.astype(dtype.numpy()), dtype
        )
    else:
        integers = _unpacked(model, tensor, weight, widths, dtype)
    zero_point = weight.grid.zero_point.astype(np.int32).astype(dtype.numpy())
    return dequantize_node(
        model.graph, tensor, integers, weight.grid.scale, zero_point, weight.channel_axis, dtype
    )


def _unpacked(
    model: ir.Model, tensor: str, weight: QuantizedWeight, widths: np.ndarray, dtype: ir.DataType
) -> ir.Value:
    """The stream as initializers, and the nodes that make the weight's shape and order of it again."""
    graph = model.graph
    add_unpack_function(model)
    channels_first = np.moveaxis(weight.integers, weight.channel_axis, 0)
    rows = channels_first.reshape(len(widths), -1)
    read = unpack_node(
        add_initializer(graph, f"{tensor}_packed", pack(rows, widths)),
        add_initializer(graph, f"{tensor}_widths", widths.astype(np.uint8)),
        add_initializer(graph, f"{tensor}_shape", np.array(channels_first.shape, np.int64)),
        name=f"{tensor}_unpack",
    )
    nodes = [read, ir.node("Cast", read.outputs, {"to": int(dtype)}, name=f"{tensor}_cast")]
    if weight.channel_axis:
        order = list(range(1, weight.integers.ndim))
        order.insert(weight.channel_axis, 0)
        nodes.append(ir.node("Transpose", nodes[-1].outputs, {"perm": order}, name=f"{tensor}_transpose"))
    nodes[-1].outputs[0].name = f"{tensor}_quantized"
    graph.insert_before(graph[0], nodes)
    return nodes[-1].outputs[0]
