# mypy: ignore-errors
# (onnxscript compiles the functions' bodies and annotations; they are not Python to a type checker)
"""The bodies of composites.py. onnxscript takes a second to load: who only asks for names does without."""

import onnxscript
from onnxscript import opset21 as op
from onnxscript.onnx_types import FLOAT

from mpq_onnx.ops.composites import DOMAIN, VERSION

COMPOSITE_OPSET = onnxscript.values.Opset(DOMAIN, VERSION)


@onnxscript.script(COMPOSITE_OPSET, default_opset=op)
def RMSNormalization(x: FLOAT["..."], scale: FLOAT["..."], axis: int = -1, epsilon: float = 1e-5):  # noqa: N802
    """x / sqrt(mean(x^2) + epsilon) * scale, the mean over the axes from `axis` on."""
    # Flatten: with axes computed by Range, ONNX infers no shape of anything behind.
    rows = op.Flatten(x, axis=axis)
    mean_square = op.ReduceMean(op.Mul(rows, rows), op.Constant(value_ints=[1]), keepdims=1)
    small = op.CastLike(op.Constant(value_float=epsilon), x)
    normalized = op.Div(rows, op.Sqrt(op.Add(mean_square, small)))
    return op.Mul(op.Reshape(normalized, op.Shape(x)), scale)


@onnxscript.script(COMPOSITE_OPSET, default_opset=op)
def Swish(x: FLOAT["..."], alpha: float = 1.0):  # noqa: N802
    """x * sigmoid(alpha * x)."""
    return op.Mul(x, op.Sigmoid(op.Mul(op.CastLike(op.Constant(value_float=alpha), x), x)))


FUNCTIONS = {script.name: script for script in (RMSNormalization, Swish)}
