"""Noisy Gemm: x [M, K] times w [K, N] (or transposed), scaled by alpha, plus beta times the bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from mpq_onnx.ops.geometry import Declared, Geometry, attribute_as_vector, attribute_value, integers

if TYPE_CHECKING:
    from onnxscript import OpBuilder


class GemmGeometry(Geometry):
    """The channels are the columns of the product."""

    attributes: ClassVar[Declared] = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    has_bias = True

    def mac(self, op: OpBuilder, x: ir.Value, w: ir.Value, b: ir.Value | None) -> ir.Value:
        return op.Gemm(x, w, b, **self.own())

    def input_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        inner = op.Sub(integers(op, 1), attribute_as_vector(op, "transA"))
        return op.Reshape(op.ReduceSumSquare(x, inner), integers(op, -1, 1))

    def weight_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        inner = attribute_as_vector(op, "transB")
        return op.Reshape(op.ReduceSumSquare(w, inner), integers(op, 1, -1))

    def over_weight(self, op: OpBuilder, channels: ir.Value, w: ir.Value) -> ir.Value:
        rows_are_channels = op.Cast(attribute_as_vector(op, "transB"), to=ir.DataType.BOOL)
        return op.Reshape(channels, op.Where(rows_are_channels, integers(op, -1, 1), integers(op, 1, -1)))

    def gain(self, op: OpBuilder) -> ir.Value | None:
        return attribute_value(op, "alpha", ir.AttributeType.FLOAT)
