"""What a noisy operator needs to know of its multiply-accumulate: the shape of things, written in ONNX operators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import onnx_ir as ir

if TYPE_CHECKING:
    from onnxscript import OpBuilder

Declared = Mapping[str, Any]
"""Attributes of a function: name to default, or to an ir.AttributeType where there is none."""

CONSTANT_ATTRIBUTES = {
    ir.AttributeType.INT: "value_int",
    ir.AttributeType.FLOAT: "value_float",
    ir.AttributeType.FLOATS: "value_floats",
}
"""The attribute of a Constant node that takes each type."""


class Geometry(ABC):
    """One multiply-accumulate operator, x times w plus b.

    The noise is added in a view of the output (see `view`) where the quantities below broadcast against each other.
    """

    attributes: ClassVar[Declared]
    """The operator's own attributes; what has a default here may be left out of a node."""
    has_bias: ClassVar[bool]

    @abstractmethod
    def mac(self, op: OpBuilder, x: ir.Value, w: ir.Value, b: ir.Value | None) -> ir.Value:
        """The noise-free operator."""

    @abstractmethod
    def input_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        """Sum of x^2 over the receptive field of each output, in the view."""

    @abstractmethod
    def weight_square_sum(self, op: OpBuilder, x: ir.Value, w: ir.Value) -> ir.Value:
        """Sum of w^2 over the taps of each output that fall on the input, in the view."""

    def over_output(self, op: OpBuilder, channels: ir.Value, w: ir.Value) -> ir.Value:
        """A vector over output channels (or of one element), in the view; as it stands where channels come last."""
        return channels

    def over_weight(self, op: OpBuilder, channels: ir.Value, w: ir.Value) -> ir.Value:
        """The same vector, broadcasting over the weight."""
        return channels

    def view(self, op: OpBuilder, y: ir.Value, w: ir.Value) -> ir.Value:
        """The output as the quantities see it."""
        return y

    def gain(self, op: OpBuilder) -> ir.Value | None:
        """A factor that the operator puts on the sum of its products, and so on their noise."""
        return None

    def own(self) -> dict[str, ir.Attr]:
        """References to the operator's own attributes, for a node of the same operator in the function's body."""
        return {
            name: ir.RefAttr(name, name, attribute_type(declared))
            for name, declared in self.attributes.items()
        }


def attribute_type(declared: Any) -> ir.AttributeType:
    """The type of a declared attribute."""
    if isinstance(declared, ir.AttributeType):
        return declared
    types = {int: ir.AttributeType.INT, float: ir.AttributeType.FLOAT}
    return types[type(declared)]


def attribute_value(op: OpBuilder, attribute: str, kind: ir.AttributeType) -> ir.Value:
    """In a function's body: the value of the function's `attribute` as a tensor."""
    name = CONSTANT_ATTRIBUTES[kind]
    return op.Constant(**{name: ir.RefAttr(name, attribute, kind)})


def attribute_as_vector(op: OpBuilder, attribute: str) -> ir.Value:
    """In a function's body: the value of the function's integer `attribute` as int64 [1]."""
    return op.Reshape(attribute_value(op, attribute, ir.AttributeType.INT), integers(op, -1))


def integers(op: OpBuilder, *values: int) -> ir.Value:
    """A constant int64 vector."""
    return op.Constant(value_ints=list(values))


def real(op: OpBuilder, value: float) -> ir.Value:
    """A constant float32 scalar."""
    return op.Constant(value_float=float(value))
