"""Quantizers that take their range from each example, as ONNX functions of standard operators.

Scale and zero point are vectors over the batch axis. ONNX's own DynamicQuantizeLinear has 256 levels and one range for the
whole batch, so that an example's result would depend on its neighbours. The formulas are quantization.asymmetric_grid and
symmetric_grid.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import ASYMMETRIC, SCHEMES
from mpq_onnx.arithmetic.quantized_network import DynamicQuantizer
from mpq_onnx.graph.fresh_names import fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import DYNAMIC_ASYMMETRIC, DYNAMIC_DOMAIN, DYNAMIC_SYMMETRIC

VERSION = 1


def dynamic_quantizer_node(model: ir.Model, value: ir.Value, quantizer: DynamicQuantizer) -> ir.Node:
    """The node that sends `value` through `quantizer`; its function becomes known to `model`."""
    from mpq_onnx.ops.dynamic_functions import FUNCTIONS  # onnxscript is slow to load

    name = DYNAMIC_ASYMMETRIC if quantizer.scheme == ASYMMETRIC else DYNAMIC_SYMMETRIC
    function = ir.serde.deserialize_function(FUNCTIONS[name].to_function_proto())
    model.functions.setdefault(function.identifier(), function)
    model.opset_imports.setdefault(DYNAMIC_DOMAIN, VERSION)
    levels = int(SCHEMES[quantizer.scheme].usable(quantizer.levels))
    container = np.dtype(np.uint8 if levels <= np.iinfo(np.uint8).max + 1 else np.uint16)
    count = add_initializer(model.graph, f"{value.name}_levels", np.array(levels, np.float32))
    return ir.node(
        name,
        [value, count],
        {"to": int(ir.DataType.from_numpy(container))},
        domain=DYNAMIC_DOMAIN,
        name=fresh_node_name(model.graph, f"{value.name}_dynamic_quantize"),
    )
