"""How the families of ai.onnx.ml operators read what they write out, in float32 and at the canonical opset."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.writing_out import Builder, Written


@dataclass
class LearnedBuilder(Builder):
    """Collects the nodes that compute what an operator of ai.onnx.ml does."""

    def floats(self, name: str, *shape: int) -> np.ndarray | None:
        """A list of numbers among the attributes, as float32; None where the node has none."""
        found = self.node.attributes.get_floats(name, [])
        return np.array(found, np.float32).reshape(shape or (-1,)) if len(found) else None

    def input(self, index: int = 0) -> ir.Value:
        """An input in float32: these operators take numbers of any type."""
        value = self.node.inputs[index]
        assert value is not None
        if value.dtype == ir.DataType.STRING:
            raise self.refusal("it reads text")
        return value if value.dtype == ir.DataType.FLOAT else self.op("Cast", value, to=ir.DataType.FLOAT)

    def rows(self) -> ir.Value:
        """The first input in float32 as a matrix: a vector counts as one row."""
        data = self.input()
        shape = self.node.inputs[0].shape  # type: ignore[union-attr]
        if shape is None or len(shape) != 1:
            return data
        return self.op("Unsqueeze", data, self.constant("axis", np.array([0])))


Rewriter = Callable[[LearnedBuilder], Written]
"""Writes an operator as standard ones."""
