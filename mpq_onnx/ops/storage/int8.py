"""Storage "int8": one byte a weight up to 8 bits, two above; what integer kernels run fastest on."""

import onnx_ir as ir

from mpq_onnx.arithmetic.weights import QuantizedWeight
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.ops.storage.centred import CentredWeight, centre
from mpq_onnx.ops.storage.dequantize import dequantize_node, weight_axis


def write_weight(model: ir.Model, tensor: str, weight: QuantizedWeight) -> ir.Value:
    """Add `weight` to the graph as int8, uint8 or int16."""
    return write_centred(model, tensor, weight, centre(weight))


def write_centred(model: ir.Model, tensor: str, weight: QuantizedWeight, centred: CentredWeight) -> ir.Value:
    """Add the integers of `weight` to the graph as they were moved."""
    integers = add_initializer(model.graph, f"{tensor}_quantized", centred.integers)
    return dequantize_node(
        model.graph, tensor, integers, weight.grid.scale, centred.zero_point, weight_axis(weight)
    )
