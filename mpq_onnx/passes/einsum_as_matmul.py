"""Einsum that is a matrix product with a constant becomes one: a channel's own scale, energy and bias are then seen.

The labels say which axes are summed (in both operands, not in the result), which are the data's own and which the constant's.
An axis of all three, a stack of matrices, stays Einsum.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import einsum_labels, mac_of
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.passes.put_in_place import put_in_place

SAME, ANY = 0, -1
"""Lengths in a Reshape: that of the input's axis, and what is left."""


@dataclass(frozen=True)
class _Labels:
    """Of one equation."""

    data: str
    weight: str
    result: str

    @property
    def summed(self) -> str:
        """In the order that the data have them."""
        return "".join(label for label in self.data if label in self.weight and label not in self.result)

    @property
    def rows(self) -> str:
        """The data's own, in the result's order."""
        return "".join(label for label in self.result if label in self.data)

    @property
    def columns(self) -> str:
        """The constant's own, in the result's order."""
        return "".join(label for label in self.result if label in self.weight)

    @property
    def is_product(self) -> bool:
        """Of two matrices, whatever their axes are made of."""
        terms = self.data, self.weight, self.result
        once = all(len(set(labels)) == len(labels) for labels in terms)
        whole = set(self.data) == set(self.rows + self.summed) and set(self.weight) == set(
            self.summed + self.columns
        )
        apart = not set(self.rows) & set(self.columns)
        return once and whole and apart and bool(self.summed and self.rows and self.columns)


class EinsumAsMatMulPass(ir.passes.InPlacePass):
    """Rewrite those with a constant for their second operand (see WeightsOnTheRightPass)."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        matrices: dict[tuple[ir.Value, str], ir.Value] = {}
        modified = False
        for node in list(model.graph):
            mac = mac_of(node)
            if mac is None or node.op_type != "Einsum" or not mac.is_weight or mac.held_index != 1:
                continue
            (data, weight), result = einsum_labels(node)
            labels = _Labels(data, weight, result)
            if labels.is_product and _may_be_turned(mac.held, labels):
                _rewrite(model.graph, node, labels, matrices)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _may_be_turned(weight: ir.Value, labels: _Labels) -> bool:
    """It is a matrix as it is, or nobody reads it in another way: it would be stored twice."""
    if labels.weight == labels.summed + labels.columns and len(labels.weight) == 2:
        return True
    return all(use.node.op_type == "Einsum" for use in weight.uses())


def _rewrite(
    graph: ir.Graph, node: ir.Node, labels: _Labels, matrices: dict[tuple[ir.Value, str], ir.Value]
) -> None:
    data, weight = node.inputs
    assert data is not None and weight is not None
    nodes: list[ir.Node] = []

    def then(
        op_type: str, inputs: list[ir.Value], attributes: dict[str, list[int]] | None = None
    ) -> ir.Value:
        nodes.append(ir.node(op_type, inputs, attributes))
        return nodes[-1].outputs[0]

    def lengths(sizes: list[int]) -> ir.Value:
        return add_initializer(graph, f"{node.name}_lengths", np.array(sizes, np.int64))

    value = data
    if labels.data != labels.rows + labels.summed:
        value = then(
            "Transpose", [value], {"perm": [labels.data.index(each) for each in labels.rows + labels.summed]}
        )
    if len(labels.summed) > 1:
        value = then("Reshape", [value, lengths([SAME] * len(labels.rows) + [ANY])])
    value = then("MatMul", [value, _matrix(graph, weight, labels, matrices)])
    product = nodes[-1]
    if len(labels.columns) > 1:
        sizes = dict(zip(labels.weight, weight.const_value.shape.numpy(), strict=True))  # type: ignore[union-attr]
        own = [sizes[label] for label in labels.columns]
        value = then("Reshape", [value, lengths([SAME] * len(labels.rows) + own)])
    found = labels.rows + labels.columns
    if labels.result != found:
        then("Transpose", [value], {"perm": [found.index(each) for each in labels.result]})
    put_in_place(graph, node, nodes, product)


def _matrix(
    graph: ir.Graph, weight: ir.Value, labels: _Labels, matrices: dict[tuple[ir.Value, str], ir.Value]
) -> ir.Value:
    """The constant as [summed, columns]."""
    order = labels.summed + labels.columns
    if labels.weight == order and len(order) == 2:
        return weight
    places = [labels.weight.index(each) for each in order]
    key = weight, f"{places} {len(labels.summed)}"
    if key not in matrices:
        assert weight.const_value is not None
        turned = weight.const_value.numpy().transpose(places)
        rows = int(np.prod(turned.shape[: len(labels.summed)]))
        array = np.ascontiguousarray(turned.reshape(rows, -1))
        matrices[key] = add_initializer(graph, f"{weight.name}_matrix", array)
    return matrices[key]
