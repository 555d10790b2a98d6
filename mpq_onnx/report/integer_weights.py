"""The weights of operators that hold integers themselves (QLinearConv, MatMulNBits, ...)."""

from dataclasses import dataclass

import onnx_ir as ir

INTEGER_WEIGHTS = {
    "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3, "ConvInteger": 1, "MatMulInteger": 1, "DynamicQuantizeMatMul": 1,
    "MatMulNBits": 1,
}  # fmt: skip
"""The input of an integer operator that is its weight."""


@dataclass(frozen=True)
class IntegerWeight:
    """The stored weight of an operator on integers."""

    node: str
    op_type: str
    tensor: str
    weights: int
    bits: int
    container: str
    """The type of the file's tensor, which may hold several weights a number."""


def integer_weight(node: ir.Node) -> IntegerWeight | None:
    """The stored weight of `node`; None where it is no such operator, or its weight is computed."""
    index = INTEGER_WEIGHTS.get(node.op_type)
    value = node.inputs[index] if index is not None and index < len(node.inputs) else None
    if value is None or value.const_value is None:
        return None
    stored = value.const_value
    count, bits = stored.size, stored.dtype.bitwidth
    if node.op_type == "MatMulNBits":
        inputs, outputs, bits = (node.attributes.get_int(name, 0) for name in ("K", "N", "bits"))
        count = inputs * outputs
    container = str(stored.dtype).lower()
    return IntegerWeight(str(node.name), node.op_type, str(value.name), count, bits, container)
