"""One form for products with a constant: it is the second operand, a matrix or a stack of them, and Gemm's data lie straight.

W x = (x^T W^T)^T, so that a constant on the left goes to the right between two Transposes; the one behind moves on past a
constant addition and an activation function, so that these stay next to their product. A vector becomes a matrix of one column.
An Einsum's operands change places with their labels.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.mac import Mac, einsum_labels, mac_of
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import rank_of
from mpq_onnx.passes.put_behind import put_behind
from mpq_onnx.passes.tied_weights import MATRIX

ELEMENTWISE = frozenset(
    {
        "Relu",
        "LeakyRelu",
        "Sigmoid",
        "Tanh",
        "Gelu",
        "HardSwish",
        "HardSigmoid",
        "Elu",
        "Selu",
        "Softplus",
        "Erf",
    }
)
"""Operators that a Transpose may pass."""


class WeightsOnTheRightPass(ir.passes.InPlacePass):
    """Bring every product with a constant operand into the form above; what has no known rank stays."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        turned: dict[tuple[ir.Value, str], ir.Value] = {}
        modified = False
        for node in list(model.graph):
            mac = mac_of(node)
            if mac is None:
                continue
            if node.op_type == "Gemm" and not _is_canonical_gemm(mac):
                modified |= _straighten_gemm(model.graph, mac)
            elif node.op_type == "Einsum" and mac.held_index == 0:
                modified |= _swap_einsum(node)
            elif node.op_type == "MatMul" and mac.is_constant:
                modified |= _turn_matmul(model.graph, mac, turned)
        _remove_unused_initializers(model.graph, {value for value, _ in turned})
        return ir.passes.PassResult(model, modified=modified)


def _is_canonical_gemm(mac: Mac) -> bool:
    return mac.held_index == 1 and not mac.node.attributes.get_int("transA", 0)


def _straighten_gemm(graph: ir.Graph, mac: Mac) -> bool:
    """Gemm's data as they lie; the transposed product where the constant was on the left."""
    node = mac.node
    trans = {name: node.attributes.get_int(name, 0) for name in ("transA", "transB")}
    bias = mac.bias
    if mac.held_index == 0:
        if bias is not None and bias.const_value is None:
            return False
        trans = {"transA": 1 - trans["transB"], "transB": 1 - trans["transA"]}
        inputs = [mac.data, mac.held]
        if bias is not None:
            turned = _swapped(_at_least_matrix(bias.const_value.numpy()))  # type: ignore[union-attr]
            inputs.append(add_initializer(graph, f"{bias.name}_turned", turned))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        _transpose_behind(graph, node, MATRIX)
    if trans["transA"]:
        node.replace_input_with(0, _transposed_before(graph, node, node.inputs[0], MATRIX))  # type: ignore[arg-type]
    node.attributes["transA"] = ir.AttrInt64("transA", 0)
    node.attributes["transB"] = ir.AttrInt64("transB", trans["transB"])
    return True


def _swap_einsum(node: ir.Node) -> bool:
    terms, result = einsum_labels(node)
    first, second = node.inputs[:2]
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)
    node.attributes["equation"] = ir.AttrString("equation", f"{terms[1]},{terms[0]}->{result}")
    return True


def _turn_matmul(graph: ir.Graph, mac: Mac, turned: dict[tuple[ir.Value, str], ir.Value]) -> bool:
    node, left = mac.node, mac.held_index == 0
    held_rank, data_rank = rank_of(mac.held), rank_of(mac.data)
    if held_rank is None or data_rank is None or (not left and held_rank >= MATRIX):
        return False
    data = mac.data
    if left and data_rank >= MATRIX:
        data = _transposed_before(graph, node, data, data_rank)
    form = "column" if held_rank < MATRIX else "transposed"
    key = (mac.held, form)
    if key not in turned:
        turned[key] = (
            _column(graph, node, mac.held) if held_rank < MATRIX else _turned_weight(graph, node, mac.held)
        )
    node.replace_input_with(0, data)
    node.replace_input_with(1, turned[key])
    if held_rank < MATRIX:
        _squeeze_behind(graph, node)
    elif data_rank >= MATRIX:
        _transpose_behind(graph, node, max(held_rank, data_rank))
    return True


def _at_least_matrix(array: np.ndarray) -> np.ndarray:
    return array.reshape((1,) * (MATRIX - array.ndim) + array.shape)


def _swapped(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.swapaxes(-1, -2))


def _order(rank: int) -> list[int]:
    return [*range(rank - MATRIX), rank - 1, rank - 2]


def _turned_weight(graph: ir.Graph, node: ir.Node, weight: ir.Value) -> ir.Value:
    """The weight with its last two axes swapped: an initializer, or a Transpose of what others read or is made of integers."""
    if weight.const_value is not None and not (rank_of(weight) == MATRIX and len(weight.uses()) > 1):
        return add_initializer(graph, f"{weight.name}_turned", _swapped(weight.const_value.numpy()))
    rank = rank_of(weight)
    assert rank is not None
    return _transposed_before(graph, node, weight, rank)


def _column(graph: ir.Graph, node: ir.Node, weight: ir.Value) -> ir.Value:
    """A vector as a matrix of one column."""
    if weight.const_value is not None:
        return add_initializer(graph, f"{weight.name}_column", weight.const_value.numpy().reshape(-1, 1))
    axes = add_initializer(graph, f"{node.name or node.outputs[0].name}_column_axis", np.array([1], np.int64))
    column = ir.node("Unsqueeze", [weight, axes], name=fresh_node_name(graph, f"{weight.name}_column"))
    column.outputs[0].name = fresh_name(graph, f"{weight.name}_column")
    graph.insert_before(node, column)
    return column.outputs[0]


def _transposed_before(graph: ir.Graph, node: ir.Node, value: ir.Value, rank: int) -> ir.Value:
    name = fresh_node_name(graph, f"{node.name or 'product'}_turn_{value.name}")
    turn = ir.node("Transpose", [value], {"perm": _order(rank)}, name=name)
    turn.outputs[0].name = fresh_name(graph, f"{value.name}_turned_for_{node.outputs[0].name}")
    turn.outputs[0].type = value.type
    graph.insert_before(node, turn)
    return turn.outputs[0]


def _squeeze_behind(graph: ir.Graph, node: ir.Node) -> None:
    axes = add_initializer(graph, f"{node.outputs[0].name}_last_axis", np.array([-1], np.int64))
    name = fresh_node_name(graph, f"{node.outputs[0].name}_squeeze")
    put_behind(graph, node, lambda value: ir.node("Squeeze", [value, axes], name=name))


def _transpose_behind(graph: ir.Graph, node: ir.Node, rank: int) -> None:
    """Transpose the result of `node`, or of the addition and activation function that follow it."""
    last = node
    while (following := _passable(last)) is not None:
        _turn_constants(graph, following, rank)
        last = following
    order, name = _order(rank), fresh_node_name(graph, f"{last.outputs[0].name}_turn_back")
    put_behind(graph, last, lambda value: ir.node("Transpose", [value], {"perm": order}, name=name))
    stale = node
    while stale is not last:
        stale.outputs[0].shape = None
        stale = next(iter(stale.outputs[0].uses())).node


def _passable(node: ir.Node) -> ir.Node | None:
    """The one reader of `node` that a Transpose may pass: element by element, with constants alone beside."""
    value = node.outputs[0]
    uses = list(value.uses())
    if value.is_graph_output() or len(uses) != 1:
        return None
    reader = uses[0].node
    if reader.op_type in ELEMENTWISE:
        return reader
    others = [each for each in reader.inputs if each is not None and each is not value]
    if reader.op_type == "Clip" and uses[0].idx == 0 and all(each.const_value is not None for each in others):
        return reader
    constants = [each for each in others if each.const_value is not None]
    if reader.op_type == "Add" and len(constants) == 1:
        rank, own = len(constants[0].const_value.shape), rank_of(value)  # type: ignore[union-attr]
        return reader if own is None or rank <= own else None
    return None


def _turn_constants(graph: ir.Graph, node: ir.Node, rank: int) -> None:
    if node.op_type != "Add":
        return
    for index, value in enumerate(node.inputs):
        if value is None or value.const_value is None or not len(value.const_value.shape):
            continue
        turned = _swapped(_at_least_matrix(value.const_value.numpy()))
        node.replace_input_with(
            index, add_initializer(graph, f"{value.name}_turned_for_{node.outputs[0].name}", turned)
        )


def _remove_unused_initializers(graph: ir.Graph, values: set[ir.Value]) -> None:
    for value in values:
        if not value.uses() and value.name in graph.initializers and not value.is_graph_output():
            del graph.initializers[str(value.name)]
