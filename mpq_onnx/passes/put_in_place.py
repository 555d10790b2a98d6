"""Several nodes instead of one."""

from collections.abc import Sequence

import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name


def put_in_place(graph: ir.Graph, node: ir.Node, added: Sequence[ir.Node], named: ir.Node) -> None:
    """`added` instead of `node`, whose name `named` of them takes, and whose output the last one's."""
    old = node.outputs[0]
    for each in added:
        each.name = node.name if each is named else fresh_node_name(graph, f"{node.name}_part")
        if each is not added[-1]:
            each.outputs[0].name = fresh_name(graph, f"{old.name}_part")
            each.outputs[0].type = old.type
    ir.convenience.replace_nodes_and_values(graph, node, [node], added, [old], [added[-1].outputs[0]])
