"""Noisy MatMul: x [..., M, K] times w [..., K, N]; w is a constant or an activation (attention)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from mpq_onnx.ops.geometry import Declared, Geometry, integers

if TYPE_CHECKING:
    from onnxscript import OpBuilder


class MatMulGeometry(Geometry):
    """The channels are the columns of w."""

    attributes: ClassVar[Declared] = {}
    has_bias = False

    def mac(self, op: OpBuilder, x: ir.Value, w: ir.Value, b: ir.Value | None) -> ir.Value:
        return op.MatMul(x, w)

    def input_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        return op.ReduceSumSquare(x, integers(op, -1))

    def weight_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        return op.ReduceSumSquare(w, integers(op, -2))
