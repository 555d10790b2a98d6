"""How float weights become integers on a given grid; a rounding method is one file and one line in ROUNDINGS."""

from mpq_onnx.registry import Registry

ROUNDINGS: Registry = Registry(
    {
        "nearest": "mpq_onnx.rounding.nearest:NEAREST",
        "adaptive": "mpq_onnx.rounding.adaptive:ADAPTIVE",
    }
)
"""A layer.RoundingMethod each."""
INT32_BIAS, FLOAT_BIAS = "int32", "float"
BIASES = (INT32_BIAS, FLOAT_BIAS)
