"""Which multiply-accumulate has a matrix form, and which."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mpq_onnx.graph.placement import WeightUse
from mpq_onnx.mirror.einsum_form import einsum_form
from mpq_onnx.mirror.matrix_form import MatrixForm


def matrix_form(
    use: WeightUse, weight: Tensor, attributes: Mapping[str, Any], rank: int
) -> MatrixForm | None:
    """The matrix form of one use; None where there is none.

    Args:
        rank: of the operand that streams.
    """
    inner, outer = use.input_layout, use.output_layout
    if inner is None or outer is None:
        return None
    if use.op_type == "Einsum":
        return einsum_form(str(attributes["equation"]), use.channel_axis, inner, outer)
    form = MatrixForm(use.op_type, attributes, inner, outer)
    if use.op_type == "ConvTranspose":
        plain = not attributes.get("output_shape") and attributes.get("auto_pad", "NOTSET") == "NOTSET"
        return form if plain and inner.axis == 0 else None
    if use.op_type == "Conv":
        return form if inner.axis == 0 else None
    if use.op_type not in ("Gemm", "MatMul") or attributes.get("transA", 0) or rank < 2:
        return None
    columns = weight.dim() - (2 if attributes.get("transB", 0) else 1)
    stacked = math.prod(weight.shape[:-2]) > 1
    beyond = inner.axis >= rank - 1 or (stacked and inner.axis >= rank - weight.dim())
    return form if use.channel_axis == columns and not beyond else None
