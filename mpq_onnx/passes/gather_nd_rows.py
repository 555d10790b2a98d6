"""GatherND that takes whole entries along the first axis is Gather: what the table holds is then seen for what it is."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard


class GatherNDRowsPass(ir.passes.InPlacePass):
    """GatherND(table, indices [..., 1]) becomes Gather(table, indices [...]), without batch axes."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in tuple(model.graph.all_nodes()):
            if _takes_rows(node):
                _look_up(node)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _takes_rows(node: ir.Node) -> bool:
    if node.op_type != "GatherND" or not is_standard(node) or node.attributes.get_int("batch_dims", 0) != 0:
        return False
    shape = None if node.inputs[1] is None else node.inputs[1].shape
    return shape is not None and len(shape) > 1 and shape[-1] == 1


def _look_up(node: ir.Node) -> None:
    table, indices = node.inputs
    graph = node.graph
    assert indices is not None and indices.shape is not None and isinstance(graph, ir.Graph)
    last = add_initializer(graph, f"{node.name}_axis", np.array([-1]))
    rows = ir.node("Squeeze", [indices, last], name=fresh_node_name(graph, f"{node.name}_rows"))
    rows.outputs[0].name = fresh_name(graph, f"{indices.name}_rows")
    rows.outputs[0].type, rows.outputs[0].shape = indices.type, ir.Shape(indices.shape[:-1])
    gather = ir.node("Gather", [table, rows.outputs[0]], {"axis": 0}, name=node.name)
    old, new = node.outputs[0], gather.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], [rows, gather], [old], [new])
