"""A table or a weight that is stored a second time, transposed, is read through a Transpose instead.

Exporters fold the Transpose of a tied embedding, or of an encoder's weight, into such a copy: of a classifier, a decoder.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.operators import TABLE_LOOKUPS, is_float32
from mpq_onnx.passes.tied_weights import MATRIX, PRODUCTS


class TransposedCopiesPass(ir.passes.InPlacePass):
    """Every matrix that products alone read, as their second operand, and that is another one transposed, number by number."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        matrices = [value for value in graph.initializers.values() if _is_matrix(value)]
        weights = [value for value in matrices if _is_weight_of_products(value)]
        tables = [value for value in matrices if any(_looks_up(*use) for use in value.uses())]
        held, modified = [*tables], False
        for weight in weights:
            original = next(
                (each for each in held if each is not weight and _are_transposed(each, weight)), None
            )
            if original is None or weight.is_graph_output():
                held.append(weight)
                continue
            _read_through_a_transpose(graph, original, weight)
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def _is_matrix(value: ir.Value) -> bool:
    return is_float32(value) and value.const_value is not None and len(value.const_value.shape) == MATRIX


def _looks_up(node: ir.Node, index: int) -> bool:
    return node.op_type in TABLE_LOOKUPS and not node.domain and index == 0


def _is_weight_of_products(value: ir.Value) -> bool:
    uses = list(value.uses())
    graph = uses[0].node.graph if uses else None
    return bool(uses) and all(
        node.op_type in PRODUCTS and not node.domain and index == 1 and node.graph is graph
        for node, index in uses
    )


def _are_transposed(original: ir.Value, copy: ir.Value) -> bool:
    assert original.const_value is not None and copy.const_value is not None
    if tuple(original.const_value.shape) != tuple(reversed(copy.const_value.shape)):
        return False
    first, second = original.const_value.numpy(), copy.const_value.numpy().T
    return np.array_equal(first[:1], second[:1]) and np.array_equal(first, second)


def _read_through_a_transpose(graph: ir.Graph, original: ir.Value, copy: ir.Value) -> None:
    name = str(copy.name)
    turn = ir.node("Transpose", [original], {"perm": [1, 0]}, name=fresh_node_name(graph, f"{name}_turn"))
    turn.outputs[0].name = fresh_name(graph, f"{name}_turned")
    turn.outputs[0].type, turn.outputs[0].shape = copy.type, copy.shape
    users = [node for node, _ in copy.uses()]
    graph.insert_before(next(node for node in graph if node in users), turn)
    ir.convenience.replace_all_uses_with(copy, turn.outputs[0])
    del graph.initializers[name]
