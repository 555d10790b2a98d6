# mypy: ignore-errors
# (onnxscript compiles the functions' bodies and annotations; they are not Python to a type checker)
"""Quantizers that take their range from each example, as ONNX functions of standard operators.

Scale and zero point are vectors over the batch axis. ONNX's own DynamicQuantizeLinear has 256 levels and one range for the
whole batch, so that an example's result would depend on its neighbours. The formulas are quantization.asymmetric_grid and
symmetric_grid.
"""

import numpy as np
import onnx_ir as ir
import onnxscript
from onnxscript import opset21 as op
from onnxscript.onnx_types import FLOAT

from mpq_onnx.graph.fresh_names import fresh_node_name
from mpq_onnx.model_file import add_initializer
from mpq_onnx.quantization import ASYMMETRIC, LARGEST_END, SCHEMES, SMALLEST_SCALE
from mpq_onnx.quantized_network import DynamicQuantizer

DOMAIN = "mpq_onnx.quantize"
DYNAMIC_OPSET = onnxscript.values.Opset(DOMAIN, 1)


@onnxscript.script(DYNAMIC_OPSET, default_opset=op)
def DynamicAsymmetric(x: FLOAT["..."], levels: FLOAT, to: int):  # noqa: N802
    """`x` through a quantizer of [min(x, 0), max(x, 0)], example by example; `to` is the integers' type."""
    zero = op.Constant(value_float=0.0)
    one = op.Constant(value_float=1.0)
    axis = op.Constant(value_ints=[1])
    rows = op.Flatten(x, axis=1)
    limit = op.Constant(value_float=LARGEST_END)
    low = op.Max(op.Min(op.ReduceMin(rows, axis, keepdims=1), zero), zero - limit)
    high = op.Min(op.Max(op.ReduceMax(rows, axis, keepdims=1), zero), limit)
    scale = op.Max((high - low) / (levels - one), op.Constant(value_float=SMALLEST_SCALE))
    shift = op.Min(op.Round((zero - low) / scale), levels - one)
    # Both ends are rounded, which may add up to one level too many.
    cut = op.Min(rows, (levels - one - shift) * scale)
    vector = op.Constant(value_ints=[-1])
    scales = op.Reshape(scale, vector)
    zero_points = op.Cast(op.Reshape(shift, vector), to=to)
    integers = op.QuantizeLinear(cut, scales, zero_points, axis=0)
    return op.Reshape(op.DequantizeLinear(integers, scales, zero_points, axis=0), op.Shape(x))


@onnxscript.script(DYNAMIC_OPSET, default_opset=op)
def DynamicSymmetric(x: FLOAT["..."], levels: FLOAT, to: int):  # noqa: N802
    """`x` through a quantizer whose zero stands in the middle, example by example; `to` is the integers' type."""
    zero = op.Constant(value_float=0.0)
    one = op.Constant(value_float=1.0)
    axis = op.Constant(value_ints=[1])
    rows = op.Flatten(x, axis=1)
    below = op.Floor(levels / op.Constant(value_float=2.0))
    above = levels - one - below
    limit = op.Constant(value_float=LARGEST_END)
    low = op.Max(op.Min(op.ReduceMin(rows, axis, keepdims=1), zero), zero - limit)
    high = op.Min(op.Max(op.ReduceMax(rows, axis, keepdims=1), zero), limit)
    step = op.Max((zero - low) / op.Max(below, one), high / op.Max(above, one))
    scale = op.Max(step, op.Constant(value_float=SMALLEST_SCALE))
    vector = op.Constant(value_ints=[-1])
    scales = op.Reshape(scale, vector)
    zero_points = op.Cast(op.Reshape(below + scale * zero, vector), to=to)
    integers = op.QuantizeLinear(op.Min(rows, above * scale), scales, zero_points, axis=0)
    return op.Reshape(op.DequantizeLinear(integers, scales, zero_points, axis=0), op.Shape(x))


def dynamic_quantizer_node(model: ir.Model, value: ir.Value, quantizer: DynamicQuantizer) -> ir.Node:
    """The node that sends `value` through `quantizer`; its function becomes known to `model`."""
    script = DynamicAsymmetric if quantizer.scheme == ASYMMETRIC else DynamicSymmetric
    function = ir.serde.deserialize_function(script.to_function_proto())
    model.functions.setdefault(function.identifier(), function)
    model.opset_imports.setdefault(DOMAIN, DYNAMIC_OPSET.version)
    levels = int(SCHEMES[quantizer.scheme].usable(quantizer.levels))
    container = np.dtype(np.uint8 if levels <= np.iinfo(np.uint8).max + 1 else np.uint16)
    count = add_initializer(model.graph, f"{value.name}_levels", np.array(levels, np.float32))
    return ir.node(
        script.name,
        [value, count],
        {"to": int(ir.DataType.from_numpy(container))},
        domain=DOMAIN,
        name=fresh_node_name(model.graph, f"{value.name}_dynamic_quantize"),
    )
