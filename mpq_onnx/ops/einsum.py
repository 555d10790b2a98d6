"""Noisy Einsum of two operands."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from mpq_onnx.ops.geometry import Declared, Geometry, real

if TYPE_CHECKING:
    from onnxscript import OpBuilder


class EinsumGeometry(Geometry):
    """Sums of squares are the same einsum with ones for the other operand."""

    attributes: ClassVar[Declared] = {"equation": ir.AttributeType.STRING}
    has_bias = False

    def mac(self, op: OpBuilder, x: ir.Value, w: ir.Value, b: ir.Value | None) -> ir.Value:
        return op.Einsum(x, w, **self.own())

    def input_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        return self.mac(op, op.Mul(x, x), op.Expand(real(op, 1), op.Shape(w)), None)

    def weight_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        return self.mac(op, op.Expand(real(op, 1), op.Shape(x)), op.Mul(w, w), None)
