"""Noisy Conv: w [C_out, C_in / groups, *kernel]."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from mpq_onnx.ops.convolution_view import FIRST_SPATIAL_AXIS, ConvolutionView
from mpq_onnx.ops.geometry import Declared, attribute_as_vector, integers

if TYPE_CHECKING:
    from onnxscript import OpBuilder

CONV_ATTRIBUTES: Declared = {
    "auto_pad": ir.AttributeType.STRING,
    "dilations": ir.AttributeType.INTS,
    "group": 1,
    "kernel_shape": ir.AttributeType.INTS,
    "pads": ir.AttributeType.INTS,
    "strides": ir.AttributeType.INTS,
}


class ConvGeometry(ConvolutionView):
    """Grouped, depthwise, strided, dilated, padded; any number of spatial axes."""

    attributes: ClassVar[Declared] = CONV_ATTRIBUTES

    def mac(self, op: OpBuilder, x: ir.Value, w: ir.Value, b: ir.Value | None) -> ir.Value:
        return op.Conv(x, w, b, **self.own())

    def channels_of_group(self, op: OpBuilder, w: ir.Value) -> ir.Value:
        return op.Div(op.Shape(w, start=0, end=1), attribute_as_vector(op, "group"))

    def squares_by_channel(self, op: OpBuilder, w: ir.Value) -> ir.Value:
        return op.ReduceSumSquare(w, integers(op, 1))

    def over_weight(self, op: OpBuilder, channels: ir.Value, w: ir.Value) -> ir.Value:
        other_axes = op.Expand(integers(op, 1), op.Shape(op.Shape(w, start=FIRST_SPATIAL_AXIS - 1)))
        return op.Reshape(channels, op.Concat(integers(op, -1), other_axes, axis=0))
