"""Storage "int8": one byte a weight up to 8 bits, two above; what integer kernels run fastest on.

Every channel's zero point is moved as near to 0 as its integers allow: it is 0 for all narrower widths and for most 8-bit
channels, and onnxruntime's convolution is fastest where it is 0 for the whole tensor.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.model_file import add_initializer
from mpq_onnx.storage.dequantize import dequantize_node
from mpq_onnx.weights import QuantizedWeight, along_axis


def write_weight(model: ir.Model, tensor: str, weight: QuantizedWeight) -> ir.Value:
    """Add `weight` to the graph as int8 or int16."""
    axis = weight.channel_axis
    container = np.iinfo(np.int8 if int(weight.grid.levels.max()) <= 256 else np.int16)
    centred = weight.integers - _along(weight.grid.zero_point.astype(np.int32), weight)
    others = tuple(i for i in range(centred.ndim) if i != axis)
    lowest = container.min - centred.min(axis=others)
    highest = container.max - centred.max(axis=others)
    zero_point = np.zeros(len(lowest), np.int32).clip(lowest, highest)
    integers = add_initializer(
        model.graph, f"{tensor}_quantized", (centred + _along(zero_point, weight)).astype(container.dtype)
    )
    return dequantize_node(
        model.graph, tensor, integers, weight.grid.scale, zero_point.astype(container.dtype), axis
    )


def _along(vector: np.ndarray, weight: QuantizedWeight) -> np.ndarray:
    return vector.reshape(along_axis(weight.integers.ndim, weight.channel_axis))
