"""Storage "int8": one byte a weight up to 8 bits, two above; what integer kernels run fastest on.

Weights are stored with zero point 0 as int8 where every channel fits (always below 8 bits), since symmetric kernels are the
fastest; else as uint8 with the channel's own zero point.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.model_file import add_initializer
from mpq_onnx.storage.dequantize import dequantize_node
from mpq_onnx.weights import QuantizedWeight, along_axis


def write_weight(model: ir.Model, tensor: str, weight: QuantizedWeight) -> ir.Value:
    """Add `weight` to the graph in the smallest of int8, uint8, int16, uint16."""
    graph, axis = model.graph, weight.channel_axis
    zero_point = weight.grid.zero_point.astype(np.int32)
    centred = weight.integers - zero_point.reshape(along_axis(weight.integers.ndim, axis))
    bytewide = int(weight.grid.levels.max()) <= 256
    signed = np.iinfo(np.int8 if bytewide else np.int16)
    if centred.min(initial=0) >= signed.min and centred.max(initial=0) <= signed.max:
        integers = add_initializer(graph, f"{tensor}_quantized", centred.astype(signed.dtype))
        return dequantize_node(graph, tensor, integers, weight.grid.scale, np.zeros(len(zero_point), signed.dtype), axis)
    unsigned = np.uint8 if bytewide else np.uint16
    integers = add_initializer(graph, f"{tensor}_quantized", weight.integers.astype(unsigned))
    return dequantize_node(graph, tensor, integers, weight.grid.scale, zero_point.astype(unsigned), axis)
