"""A matrix of zeros that is added does nothing: a mask that lets everything through, as Attention written out has one."""

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.tied_weights import MATRIX


class ZeroAddendsPass(ir.passes.InPlacePass):
    """Where the sum has the other operand's shape. Vectors stay: a bias may be corrected."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in tuple(model.graph):
            if node.op_type != "Add" or not is_standard(node) or len(node.inputs) != 2:
                continue
            for zeros, other in (tuple(node.inputs), tuple(node.inputs)[::-1]):
                if zeros is not None and other is not None and _adds_nothing(zeros, other):
                    _take_out(model.graph, node, other)
                    changed = True
                    break
        return ir.passes.PassResult(model, modified=changed)


def _adds_nothing(zeros: ir.Value, other: ir.Value) -> bool:
    if zeros.const_value is None or other.const_value is not None or other.shape is None:
        return False
    own, theirs = tuple(zeros.const_value.shape.numpy()), tuple(other.shape)
    if sum(size > 1 for size in own) < MATRIX or len(own) > len(theirs):
        return False
    fits = all(size in (1, length) for size, length in zip(own[::-1], theirs[::-1], strict=False))
    return fits and not zeros.const_value.numpy().any()


def _take_out(graph: ir.Graph, node: ir.Node, other: ir.Value) -> None:
    result = node.outputs[0]
    if result.is_graph_output():
        return  # it keeps its name
    ir.convenience.replace_all_uses_with(result, other)
    graph.remove(node, safe=True)
