"""One stored tensor for a matrix that some nodes read as it is and products read transposed, as embedding and classifier.

Folding the Transpose would store the matrix twice. Gemm can read it transposed: more axes than two become rows ahead of it, and
axes again behind.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer

MATRIX = 2
PRODUCTS = ("MatMul", "Gemm")


class TiedWeightsPass(ir.passes.InPlacePass):
    """Let MatMul and Gemm read what is behind the Transpose of their second operand, where others read it too.

    The Transpose of a constant matrix that nobody else reads becomes a constant.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for transpose in [node for node in model.graph if turns_tied_weight(node)]:
            for use in list(transpose.outputs[0].uses()):
                if use.idx != 1:
                    continue
                if use.node.op_type == "Gemm":
                    _flip(use.node, transpose.inputs[0])
                else:
                    _replace_by_gemm(model.graph, use.node, transpose.inputs[0])
                modified = True
        for transpose in [node for node in model.graph if _turns_alone(node)]:
            _fold(model.graph, transpose)
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def turns_tied_weight(node: ir.Node) -> bool:
    """True for the Transpose of a constant matrix that products alone read, while something else reads the matrix itself."""
    if not _is_transpose(node) or node.inputs[0] is None or node.outputs[0].is_graph_output():
        return False
    matrix, readers = node.inputs[0], _readers(node.outputs[0])
    return (
        matrix.const_value is not None
        and len(matrix.const_value.shape) == MATRIX
        and has_readers_besides(matrix, node)
        and all(
            _multiplies(reader) and index < MATRIX and reader.graph is node.graph for reader, index in readers
        )
    )


def _readers(value: ir.Value) -> list[tuple[ir.Node, int]]:
    """Who reads `value`, those behind a Cast instead of the Cast: it goes, as everything is computed in one type."""
    found: list[tuple[ir.Node, int]] = []
    for node, index in value.uses():
        goes = node.op_type == "Cast" and not node.domain and not node.outputs[0].is_graph_output()
        found += list(node.outputs[0].uses()) if goes else [(node, index)]
    return found


def _turns_alone(node: ir.Node) -> bool:
    """True for the Transpose of a constant matrix that nothing reads as it is."""
    matrix = node.inputs[0] if _is_transpose(node) else None
    return (
        matrix is not None
        and matrix.const_value is not None
        and len(matrix.const_value.shape) == MATRIX
        and not node.outputs[0].is_graph_output()
        and not has_readers_besides(matrix, node)
    )


def _fold(graph: ir.Graph, transpose: ir.Node) -> None:
    """The transposed matrix as an initializer; the matrix itself goes with its last reader."""
    matrix = transpose.inputs[0]
    assert matrix is not None and matrix.const_value is not None
    turned = np.ascontiguousarray(matrix.const_value.numpy().T)
    ir.convenience.replace_all_uses_with(
        transpose.outputs[0], add_initializer(graph, f"{matrix.name}_turned", turned)
    )
    graph.remove(transpose, safe=True)
    if not matrix.uses() and not matrix.is_graph_output() and matrix.name in graph.initializers:
        del graph.initializers[str(matrix.name)]


def has_readers_besides(matrix: ir.Value, node: ir.Node) -> bool:
    """Whether anything reads `matrix` as it is: a node that is neither `node` nor a Transpose that would fold to the same."""
    return matrix.is_graph_output() or any(
        use.node is not node and not _is_transpose(use.node) for use in matrix.uses()
    )


def _is_transpose(node: ir.Node) -> bool:
    return (
        node.op_type == "Transpose"
        and not node.domain
        and list(node.attributes.get_ints("perm", [1, 0])) == [1, 0]
    )


def _multiplies(node: ir.Node) -> bool:
    return node.op_type in PRODUCTS and not node.domain


def _flip(gemm: ir.Node, matrix: ir.Value | None) -> None:
    gemm.replace_input_with(1, matrix)
    gemm.attributes["transB"] = ir.AttrInt64("transB", 1 - gemm.attributes.get_int("transB", 0))


def _replace_by_gemm(graph: ir.Graph, product: ir.Node, matrix: ir.Value | None) -> None:
    """Gemm in place of MatMul and the addition of a bias behind it."""
    data, addition = product.inputs[0], _bias_addition(product)
    assert data is not None and matrix is not None and matrix.const_value is not None
    channels, features = matrix.const_value.shape.numpy()
    last = product if addition is None else addition
    name, result = product.name or fresh_node_name(graph, "product"), last.outputs[0]
    bias = [] if addition is None else [each for each in addition.inputs if each is not product.outputs[0]]
    is_matrix = data.shape is not None and len(data.shape) == MATRIX
    added: list[ir.Node] = []
    rows = data
    if not is_matrix:
        shape = add_initializer(graph, f"{name}_rows_shape", np.array([-1, features], np.int64))
        rows = _append(graph, added, "Reshape", [data, shape], {}, f"{name}_rows")
    product_of_rows = _append(graph, added, "Gemm", [rows, matrix, *bias], {"transB": 1}, name)
    added[-1].name = name  # the MatMul's own, which goes
    if not is_matrix:
        axes = _shape_behind(graph, added, data, channels, name)
        _append(graph, added, "Reshape", [product_of_rows, axes], {}, f"{name}_axes")
    old = [product] if addition is None else [addition, product]
    ir.convenience.replace_nodes_and_values(graph, last, old, added, [result], [added[-1].outputs[0]])


def _append(
    graph: ir.Graph,
    added: list[ir.Node],
    op_type: str,
    inputs: list[ir.Value | None],
    attributes: dict[str, int],
    name: str,
) -> ir.Value:
    """The output of a node that is put at the end of `added`."""
    node = ir.node(op_type, inputs, attributes, name=fresh_node_name(graph, name))
    node.outputs[0].name = fresh_name(graph, f"{name}_output")
    added.append(node)
    return node.outputs[0]


def _shape_behind(
    graph: ir.Graph, added: list[ir.Node], data: ir.Value, channels: int, name: str
) -> ir.Value:
    """The shape of the product with `data`: constant where one length at most is open, else computed."""
    leading = None if data.shape is None else [*data.shape][:-1]
    channel = np.array([channels], np.int64)
    if leading:
        is_open = [not isinstance(size, int) for size in leading]
        if sum(is_open) <= 1:
            follows = is_open.index(True) if any(is_open) else 0
            sizes = [-1 if axis == follows else int(size) for axis, size in enumerate(leading)]  # type: ignore[call-overload]
            return add_initializer(graph, f"{name}_axes_shape", np.array([*sizes, channels], np.int64))
    lengths = _append(graph, added, "Shape", [data], {"start": 0, "end": -1}, f"{name}_lengths")
    last = add_initializer(graph, f"{name}_channels", channel)
    return _append(graph, added, "Concat", [lengths, last], {"axis": 0}, f"{name}_shape")


def _bias_addition(product: ir.Node) -> ir.Node | None:
    """The addition of a constant vector over the channels that alone reads `product`."""
    value = product.outputs[0]
    uses = list(value.uses())
    if value.is_graph_output() or len(uses) != 1 or uses[0].node.op_type != "Add":
        return None
    others = [each for each in uses[0].node.inputs if each is not None and each is not value]
    is_vector = (
        len(others) == 1 and others[0].const_value is not None and len(others[0].const_value.shape) == 1
    )
    return uses[0].node if is_vector else None
