"""A constant multiplied as a stack of one matrix, [1, k, n], is that matrix: its channels may have scales of their own."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard, rank_of
from mpq_onnx.passes.put_behind import put_behind
from mpq_onnx.passes.tied_weights import MATRIX


class StacksOfOnePass(ir.passes.InPlacePass):
    """Where MatMuls alone read it; the axes that it gave their outputs are put in front of them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for stack in list(model.graph.initializers.values()):
            uses = tuple(stack.uses())
            if not _is_stack_of_one(stack) or not all(
                _is_product(use.node, use.idx, model.graph) for use in uses
            ):
                continue
            assert stack.const_value is not None
            shape = tuple(stack.const_value.shape.numpy())
            array = np.ascontiguousarray(stack.const_value.numpy().reshape(shape[-MATRIX:]))
            matrix = add_initializer(model.graph, f"{stack.name}_matrix", array)
            for use in uses:
                use.node.replace_input_with(use.idx, matrix)
                _put_axes_in_front(model.graph, use.node, len(shape))
            del model.graph.initializers[str(stack.name)]
            changed = True
        return ir.passes.PassResult(model, modified=changed)


def _is_stack_of_one(value: ir.Value) -> bool:
    shape = () if value.const_value is None else tuple(value.const_value.shape.numpy())
    return (
        len(shape) > MATRIX
        and set(shape[:-MATRIX]) == {1}
        and bool(value.uses())
        and not value.is_graph_output()
    )


def _is_product(node: ir.Node, index: int, graph: ir.Graph) -> bool:
    known = (rank_of(node.inputs[0]) or 0) >= MATRIX
    return node.op_type == "MatMul" and is_standard(node) and index == 1 and known and node.graph is graph


def _put_axes_in_front(graph: ir.Graph, node: ir.Node, axes: int) -> None:
    """Of length 1, as many as the output of `node` lacks now."""
    rank = rank_of(node.inputs[0])
    assert rank is not None
    if rank >= axes:
        return
    front = add_initializer(graph, f"{node.name}_axes", np.arange(axes - rank))
    name = fresh_node_name(graph, f"{node.name}_unsqueeze")

    def unsqueezed(value: ir.Value) -> ir.Node:
        added = ir.node("Unsqueeze", [value, front], name=name)
        added.outputs[0].name = fresh_name(graph, f"{value.name}_unsqueezed")
        return added

    put_behind(graph, node, unsqueezed)
