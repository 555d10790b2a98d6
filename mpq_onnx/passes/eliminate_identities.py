"""Take out Identity nodes, so that a weight that several layers read stays one tensor.

onnx_ir has such a pass, which lets a branch of an If end with a tensor from outside it: ONNX does not allow that.
"""

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard


class EliminateIdentitiesPass(ir.passes.InPlacePass):
    """Everybody reads what the Identity reads, in subgraphs and functions too.

    One stays where a graph's output would otherwise be an input, an initializer, another output, or a tensor of another graph.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graphs: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
        removed = [_eliminate(node) for graph in graphs for node in list(graph.all_nodes())]
        return ir.passes.PassResult(model, modified=any(removed))


def _eliminate(node: ir.Node) -> bool:
    if node.op_type != "Identity" or not is_standard(node):
        return False
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return False
    if result.is_graph_output():
        producer = source.producer()
        if producer is None or producer.graph is not node.graph or source.is_graph_output():
            return False
        source.name = result.name
        # A file must state some shape of an output, and inference may find none.
        source.shape = result.shape if source.shape is None else source.shape
    if source.type is None:
        source.type = result.type
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)
    return True
