"""Functions of one tensor, element by element, that are written out around one standard function."""

from abc import abstractmethod
from typing import ClassVar

import onnx_ir as ir

from mpq_onnx.passes.fusing.axes import same_shape
from mpq_onnx.passes.fusing.polynomial import Function, Polynomial
from mpq_onnx.passes.fusing.reading import Reader, ancestors, is_closed, producer
from mpq_onnx.passes.fusing.root_rule import Build, RootRule

FARTHEST = 24
"""Values looked at on the way back from the last node; the longest GELU has 10."""


class ActivationRule(RootRule):
    """A rule for f(x), f known by its polynomial in x and in one inner function of x."""

    inner: ClassVar[frozenset[str]]
    """Operators of which one is part of every way of writing f."""

    @abstractmethod
    def recognise(self, read: Polynomial, x: ir.Value) -> Build | None:
        """What computes `read`, a polynomial in `x`; None where it is another function."""

    def find(self, root: ir.Node) -> Build | None:
        output = root.outputs[0]
        for value in ancestors(output, FARTHEST):
            node = producer(value)
            if node is None or node.op_type not in self.inner:
                continue
            for each in node.inputs:
                if each is None or each.const_value is not None:
                    continue
                # Farthest first: a factor in front of x belongs to f.
                for x in reversed(list(ancestors(each, FARTHEST))):
                    build = self._in(root, x)
                    if build is not None:
                        return build
        return None

    def _in(self, root: ir.Node, x: ir.Value) -> Build | None:
        output = root.outputs[0]
        if x is output or (output.shape is not None and not same_shape(output.shape, x.shape)):
            return None
        reader = Reader(x)
        build = self.recognise(reader.read(output), x)
        return build if build is not None and is_closed(root, reader.interior) else None


def inner_functions(read: Polynomial, name: str) -> list[Function]:
    """The functions `name` that a polynomial holds."""
    found = {
        each for term in read.terms for each, _ in term if isinstance(each, Function) and each.name == name
    }
    return list(found)
