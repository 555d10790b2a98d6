"""Noisy Einsum of two operands."""

from typing import ClassVar

import onnx_ir as ir
from onnxscript import OpBuilder

from mpq_onnx.ops.geometry import Declared, Geometry, real


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
