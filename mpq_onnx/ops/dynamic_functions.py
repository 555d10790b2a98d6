# mypy: ignore-errors
# (onnxscript compiles the functions' bodies and annotations; they are not Python to a type checker)
"""The bodies of dynamic_quantize.py. onnxscript takes a second to load: who only asks for names does without."""

import onnxscript
from onnxscript import opset21 as op
from onnxscript.onnx_types import FLOAT

from mpq_onnx.arithmetic.quantization import LARGEST_END, SMALLEST_SCALE
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN
from mpq_onnx.ops.dynamic_quantize import VERSION

DYNAMIC_OPSET = onnxscript.values.Opset(DYNAMIC_DOMAIN, VERSION)


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


FUNCTIONS = {script.name: script for script in (DynamicAsymmetric, DynamicSymmetric)}
