"""A bias that is added where a Reshape has split a product's output channels, [heads, channels], is added before, as a vector.

So attention's projections are often written; next to its product a bias is one: rounded once with it, and corrected.
"""

import math

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name, take_name
from mpq_onnx.graph.mac import mac_of
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard


class BiasBeforeReshapePass(ir.passes.InPlacePass):
    """MatMul, Reshape of its last axis, Add of a constant, each with one reader, become MatMul, Add, Reshape."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in tuple(model.graph):
            if node.op_type == "Add" and is_standard(node) and len(node.inputs) == 2:
                for split, bias in (tuple(node.inputs), tuple(node.inputs)[::-1]):
                    vector = None if split is None or bias is None else _as_vector(split, bias)
                    if vector is not None:
                        _turn_round(model.graph, node, split, str(bias.name), vector)  # type: ignore[arg-type,union-attr]
                        changed = True
                        break
        return ir.passes.PassResult(model, modified=changed)


def _as_vector(split: ir.Value, bias: ir.Value) -> np.ndarray | None:
    """The constant over the product's output channels; None where the nodes are others."""
    reshape = split.producer()
    product = None if reshape is None or reshape.op_type != "Reshape" else reshape.inputs[0]
    node = None if product is None else product.producer()
    mac = None if node is None else mac_of(node)
    if bias.const_value is None or mac is None or node.op_type != "MatMul" or not mac.is_weight:  # type: ignore[union-attr]
        return None
    if any(len(value.uses()) != 1 or value.is_graph_output() for value in (split, product)):  # type: ignore[union-attr]
        return None
    before, after = product.shape, split.shape  # type: ignore[union-attr]
    own = tuple(bias.const_value.shape.numpy())
    if before is None or after is None:
        return None
    parts = tuple(size for size in tuple(after)[len(before) - 1 :] if isinstance(size, int))
    # Whatever became of the other axes: the last ones are the channels where they are as many.
    if math.prod(parts) != before[-1] or len(after) - len(parts) != len(before) - 1 or len(own) > len(parts):
        return None
    if any(size not in (1, length) for size, length in zip(own[::-1], parts[::-1], strict=False)):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.const_value.numpy(), parts).reshape(-1))


def _turn_round(graph: ir.Graph, node: ir.Node, split: ir.Value, name: str, vector: np.ndarray) -> None:
    reshape = split.producer()
    assert reshape is not None and reshape.inputs[0] is not None
    product = reshape.inputs[0]
    constant = add_initializer(graph, f"{name}_vector", vector)
    added = ir.node("Add", [product, constant], name=fresh_node_name(graph, f"{node.name}_before"))
    total = added.outputs[0]
    total.name = fresh_name(graph, f"{product.name}_with_bias")
    total.type, total.shape = product.type, product.shape
    graph.insert_before(reshape, added)
    reshape.replace_input_with(0, total)
    old = node.outputs[0]
    ir.convenience.replace_all_uses_with(old, split, replace_graph_outputs=True)
    take_name(graph, split, old, f"{old.name}_split")
    graph.remove(node, safe=True)
    added.name = node.name
