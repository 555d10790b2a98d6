"""How the families of onnxruntime's operators write what they mean, before the model is brought to the canonical opset."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.ops.composites import DOMAIN as COMPOSITE
from mpq_onnx.passes.old_operators import WAITING
from mpq_onnx.passes.writing_out import Builder, Written

BEFORE = "give the file from before onnxruntime's optimizer or model builder"
"""The remedy where nothing can be written."""


class UnknownRankError(ModelError):
    """The number of axes that a form hangs on will be known once what stands in front of it is written out."""


@dataclass
class ContributedBuilder(Builder):
    """Collects the nodes that compute what an operator of com.microsoft does.

    `op` is for operators that mean the same at every opset, `of_today` for those of the canonical one.
    """

    def of_today(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of a new node of the canonical opset, which converters pass by."""
        output = self.op(op_type, *inputs, **attributes)
        output.producer().domain = WAITING  # type: ignore[union-attr]
        return output

    def composite(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """The output of a new node of a later opset, as the canonical form holds it."""
        output = self.op(op_type, *inputs, **attributes)
        output.producer().domain = COMPOSITE  # type: ignore[union-attr]
        return output

    def optional(self, index: int) -> ir.Value | None:
        """An input; None where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def input(self, index: int) -> ir.Value:
        """An input that the operator cannot do without."""
        value = self.optional(index)
        if value is None:
            raise self.refusal(f"its input {index} is missing")
        return value

    def rank(self, value: ir.Value) -> int:
        """The number of axes of an input.

        Raises:
            UnknownRankError: shape inference does not tell.
        """
        if value.shape is None:
            raise UnknownRankError(
                self.described(f"the number of axes of {value.name} is not known; {BEFORE}")
            )
        return len(value.shape)

    def size(self, value: ir.Value, axis: int) -> int:
        """The length of an axis that is written into the file.

        Raises:
            UnknownRankError: shape inference does not tell.
        """
        self.rank(value)
        found = value.shape[axis]  # type: ignore[index]
        if not isinstance(found, int):
            raise UnknownRankError(
                self.described(f"the length of axis {axis} of {value.name} is open; {BEFORE}")
            )
        return found

    def number(self, name: str, value: float, beside: ir.Value) -> ir.Value:
        """A constant scalar of the type of `beside`."""
        kind = (
            beside.dtype
            if beside.dtype is not None and beside.dtype.is_floating_point()
            else ir.DataType.FLOAT
        )
        return self.constant(name, np.array(value, kind.numpy()))

    def integers(self, name: str, *values: int) -> ir.Value:
        """A constant list of int64."""
        return self.constant(name, np.array(values, np.int64))

    def reshape(self, value: ir.Value, *lengths: int) -> ir.Value:
        """`value` with other axes; a length of 0 is the one that it has there, -1 what is left."""
        return self.op("Reshape", value, self.integers("lengths", *lengths))

    def part(self, value: ir.Value, axis: int, start: int, stop: int, step: int = 1) -> ir.Value:
        """Places `start` to `stop` of an axis counted from the beginning; a constant of a constant."""
        known = ir.convenience.get_const_tensor(value)
        if known is not None:
            places = (slice(None),) * axis + (slice(start, stop, step),)
            return self.constant("part", np.ascontiguousarray(known.numpy()[places]))
        ends = (
            self.integers(name, each)
            for name, each in (("start", start), ("stop", stop), ("axis", axis), ("step", step))
        )
        return self.op("Slice", value, *ends)

    def places(self, tokens: ir.Value, axis: int) -> ir.Value:
        """0, 1, 2, ... along an axis."""
        zero, one, where = (
            self.constant(name, np.array(each)) for name, each in (("zero", 0), ("one", 1), ("axis", axis))
        )
        return self.op("Range", zero, self.op("Gather", self.op("Shape", tokens), where, axis=0), one)

    def scaled(self, value: ir.Value, factor: float) -> ir.Value:
        """`value` times a number, which leaves no node where it is one."""
        return value if factor == 1 else self.op("Mul", value, self.number("factor", factor, value))

    def plus(self, value: ir.Value, *others: ir.Value | None) -> ir.Value:
        """`value` and whatever of `others` is there, added up."""
        for other in others:
            value = value if other is None else self.op("Add", value, other)
        return value


Rewriter = Callable[[ContributedBuilder], Written]
"""Writes an operator as standard ones."""
