"""What Conv and ConvTranspose share: the output seen as [N, groups, channels of a group, positions]."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import onnx_ir as ir

from mpq_onnx.ops.geometry import Geometry, attribute_as_vector, integers, real

if TYPE_CHECKING:
    from onnxscript import OpBuilder

FIRST_SPATIAL_AXIS = 2
GROUPED_CHANNELS_AXIS = 2
"""Of [N, groups, channels of a group, ...]."""


class ConvolutionView(Geometry):
    """Groups apart, so that one sum of squares a group broadcasts over its channels."""

    has_bias = True

    @abstractmethod
    def channels_of_group(self, op: OpBuilder, w: ir.Value) -> ir.Value:
        """Output channels of one group, int64 [1]."""

    def view(self, op: OpBuilder, y: ir.Value, w: ir.Value) -> ir.Value:
        shape = op.Concat(
            integers(op, 0), self.groups(op), self.channels_of_group(op, w), integers(op, -1), axis=0
        )
        return op.Reshape(y, shape)

    def over_output(self, op: OpBuilder, channels: ir.Value, w: ir.Value) -> ir.Value:
        # A vector of one element has no groups to split: [1] becomes [1, 1, 1, 1], [C] becomes [1, G, C/G, 1].
        groups = op.Min(op.Shape(channels), self.groups(op))
        return op.Reshape(channels, op.Concat(integers(op, 1), groups, integers(op, -1, 1), axis=0))

    @abstractmethod
    def squares_by_channel(self, op: OpBuilder, w: ir.Value) -> ir.Value:
        """w^2 summed over the inputs of a group: the weight of a convolution whose groups have one input each."""

    def input_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        positions = op.Shape(x, start=FIRST_SPATIAL_AXIS)
        # Squared before it is reshaped: onnxruntime moves the DequantizeLinear of an int8 x past a Reshape and fails. A product
        # and a sum: of the two it has faster kernels than of ReduceSumSquare.
        grouped = op.Reshape(
            op.Mul(x, x), op.Concat(integers(op, 0), self.groups(op), integers(op, -1), positions, axis=0)
        )
        squares = op.ReduceSum(grouped, integers(op, GROUPED_CHANNELS_AXIS), keepdims=0)
        kernel = op.Shape(w, start=FIRST_SPATIAL_AXIS)
        ones = op.Expand(real(op, 1), op.Concat(self.groups(op), integers(op, 1), kernel, axis=0))
        sums = self.mac(op, squares, ones, None)
        return op.Reshape(sums, op.Concat(integers(op, 0), self.groups(op), integers(op, 1, -1), axis=0))

    def weight_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        positions = op.Shape(x, start=FIRST_SPATIAL_AXIS)
        inside = op.Expand(real(op, 1), op.Concat(integers(op, 1), self.groups(op), positions, axis=0))
        return self.view(op, self.mac(op, inside, self.squares_by_channel(op, w), None), w)

    def groups(self, op: OpBuilder) -> ir.Value:
        """int64 [1]."""
        return attribute_as_vector(op, "group")
