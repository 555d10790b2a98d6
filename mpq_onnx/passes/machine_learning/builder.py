"""What the families of ai.onnx.ml operators are written with: nodes and constants that take an operator's place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name


@dataclass
class Builder:
    """Collects the nodes that compute what `node` does, in float32 and at the canonical opset."""

    main: ir.Graph
    """The model's, whose names are taken."""
    node: ir.Node
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)

    def op(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        wanted = f"{self._prefix}_{op_type}_{len(self.nodes)}"
        node = ir.node(op_type, list(inputs), attributes, name=fresh_node_name(self.main, wanted))
        node.outputs[0].name = fresh_name(self.main, wanted)
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """A new initializer."""
        full = fresh_name(self.main, f"{self._prefix}_{name}_{len(self.constants)}")
        value = ir.Value(
            name=full,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.tensor(array, name=full),
        )
        self.constants.append(value)
        return value

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

    def refusal(self, reason: str) -> ModelError:
        """An error that names the operator and the node."""
        return ModelError(f"node {self.node.name}: {self.node.op_type} of ai.onnx.ml: {reason}")

    @property
    def _prefix(self) -> str:
        return str(self.node.name or self.node.outputs[0].name)


Rewriter = Callable[[Builder], Sequence[ir.Value | None]]
"""Writes an operator as standard ones; returns the values of its outputs, None for those that nobody may read."""
