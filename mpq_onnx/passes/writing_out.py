"""What operators of other operator sets are written out with: nodes and constants that take an operator's place."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name


@dataclass
class Builder:
    """Collects the nodes that compute what `node` does."""

    main: ir.Graph
    """The model's, whose names are taken."""
    node: ir.Node
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Value] = field(default_factory=list)
    layer: ir.Node | None = None
    """The one that is to have the name of `node`, if any."""

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of a new node."""
        return self.named(f"{op_type}_{len(self.nodes)}", op_type, *inputs, **attributes)

    def named(self, role: str, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of a new node that is called after `role`, what it is for."""
        wanted = f"{self._prefix}_{role}"
        node = ir.node(op_type, list(inputs), attributes, name=fresh_node_name(self.main, wanted))
        node.outputs[0].name = fresh_name(self.main, wanted)
        self.nodes.append(node)
        return node.outputs[0]

    def same_layer(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of the new node that keeps the operator's name."""
        output = self.op(op_type, *inputs, **attributes)
        self.layer = output.producer()
        return output

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

    def refusal(self, reason: str) -> ModelError:
        """An error that names the operator and the node."""
        return ModelError(self.described(reason))

    def described(self, reason: str) -> str:
        """`reason` behind the names of the node, the operator and its domain."""
        domain = f" of {self.node.domain}" if self.node.domain else ""
        return f"node {self._prefix}: {self.node.op_type}{domain}: {reason}"

    @property
    def _prefix(self) -> str:
        return str(self.node.name or self.node.outputs[0].name)


AnyBuilder = TypeVar("AnyBuilder", bound=Builder)
Written = Sequence[ir.Value | None]
"""The values of an operator's outputs, None for those that nobody may read."""


def write_out(builder: AnyBuilder, rewriter: Callable[[AnyBuilder], Written]) -> None:
    """Put what `rewriter` builds in the place of the builder's node.

    Raises:
        ModelError: the rewriter refuses the node, or an output that it leaves out is read.
    """
    results = rewriter(builder)
    node, graph = builder.node, builder.node.graph
    assert isinstance(graph, ir.Graph)
    pairs = list(itertools.zip_longest(node.outputs, results[: len(node.outputs)]))
    for old, new in pairs:
        if new is None and (old.uses() or old.is_graph_output()):
            raise builder.refusal(f"its output {old.name} is read and has no standard form here")
    for value in builder.constants:
        graph.register_initializer(value)
    graph.insert_before(node, builder.nodes)
    for old, new in pairs:
        if new is not None and old.name:
            _take_over(old, new)
    graph.remove(node, safe=True)
    if builder.layer is not None:
        builder.layer.name = node.name


def _take_over(old: ir.Value, new: ir.Value) -> None:
    """Let `new` be what `old` was to its readers and to the graph's outputs."""
    new.shape = new.shape or old.shape
    if new.dtype is None and old.dtype is not None:
        new.dtype = ir.DataType.INT64 if old.dtype == ir.DataType.STRING else old.dtype
    name, old.name = old.name, None
    new.name = name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
