"""Noisy ConvTranspose: w [C_in, C_out / groups, *kernel]."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from mpq_onnx.ops.conv import CONV_ATTRIBUTES
from mpq_onnx.ops.convolution_view import FIRST_SPATIAL_AXIS, ConvolutionView
from mpq_onnx.ops.geometry import Declared, integers

if TYPE_CHECKING:
    from onnxscript import OpBuilder


class ConvTransposeGeometry(ConvolutionView):
    """Each input is spread over the outputs that its kernel covers."""

    attributes: ClassVar[Declared] = {
        **CONV_ATTRIBUTES,
        "output_padding": ir.AttributeType.INTS,
        "output_shape": ir.AttributeType.INTS,
    }

    def mac(self, op: OpBuilder, x: ir.Value, w: ir.Value, b: ir.Value | None) -> ir.Value:
        return op.ConvTranspose(x, w, b, **self.own())

    def channels_of_group(self, op: OpBuilder, w: ir.Value) -> ir.Value:
        return op.Shape(w, start=1, end=2)

    def squares_by_channel(self, op: OpBuilder, w: ir.Value) -> ir.Value:
        # Squared before it is reshaped, as the input is (see ConvolutionView).
        grouped = op.Reshape(
            op.Mul(w, w), op.Concat(self.groups(op), integers(op, -1), op.Shape(w, start=1), axis=0)
        )
        return op.ReduceSum(grouped, integers(op, 1), keepdims=0)

    def over_weight(self, op: OpBuilder, channels: ir.Value, w: ir.Value) -> ir.Value:
        # Row i of the weight belongs to group i / (C_in / G), and its columns to that group's output channels.
        groups, rows, columns = self.groups(op), op.Shape(w, start=0, end=1), op.Shape(w, start=1, end=2)
        every_channel = op.Expand(channels, op.Mul(groups, columns))
        by_group = op.Reshape(every_channel, op.Concat(groups, integers(op, 1), columns, axis=0))
        by_row = op.Expand(by_group, op.Concat(groups, op.Div(rows, groups), columns, axis=0))
        kernel_axes = op.Expand(integers(op, 1), op.Shape(op.Shape(w, start=FIRST_SPATIAL_AXIS)))
        return op.Reshape(by_row, op.Concat(rows, columns, kernel_axes, axis=0))
