# mypy: ignore-errors
# (onnxscript compiles the functions' bodies and annotations; they are not Python to a type checker)
"""Operators that ONNX has in later operator sets than the canonical one, as functions of a domain of our own.

Names, inputs and attributes are those of ONNX (RMSNormalization-23, Swish-24), so that every stage treats such a node as the
operator of that name. onnxruntime puts the body in its place when it loads a file. `axis` of RMSNormalization is negative.
"""

import onnx_ir as ir
import onnxscript
from onnxscript import opset21 as op
from onnxscript.onnx_types import FLOAT

DOMAIN = "mpq_onnx.composite"
VERSION = 1
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


COMPOSITES = {script.name: script for script in (RMSNormalization, Swish)}


def is_composite(function: ir.Function) -> bool:
    """True for a function of ours, which stays one node in the canonical form."""
    return function.domain == DOMAIN and function.name in COMPOSITES


def is_standard(node: ir.Node) -> bool:
    """True for ONNX's own operators, those that a file holds as a function of ours included."""
    return node.domain in ("", "ai.onnx") or (node.domain == DOMAIN and node.op_type in COMPOSITES)


def declare_composites(model: ir.Model) -> None:
    """Add the functions and the operator set that the composite nodes of `model` need."""
    used = {node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN}
    for name in sorted(used & set(COMPOSITES)):
        function = ir.serde.deserialize_function(COMPOSITES[name].to_function_proto())
        model.functions[function.identifier()] = function
        model.opset_imports[DOMAIN] = VERSION
