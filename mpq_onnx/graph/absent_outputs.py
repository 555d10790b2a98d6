"""Outputs without a name of nodes that must have all of theirs: calls of a function, loops and branches.

onnx_ir writes no output without a name behind the last one that has a name; onnxruntime refuses such a call then.
"""

import onnx_ir as ir

from mpq_onnx.graph.node_names import unique_name
from mpq_onnx.graph.uncounted import bodies


def name_absent_outputs(model: ir.Model) -> None:
    """Give them names that nothing else has, in functions, branches and loops too."""
    parts: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
    nodes = [node for part in parts for node in part.all_nodes()]
    absent = [
        (node, value)
        for node in nodes
        if node.op_identifier() in model.functions or any(bodies(node))
        for value in node.outputs
        if not value.name
    ]
    if not absent:
        return
    graphs = [graph for part in parts for graph in (part, *part.subgraphs())]
    taken = {str(value.name) for node in nodes for value in node.outputs}
    taken |= {str(value.name) for graph in graphs for value in graph.inputs}
    taken |= {name for graph in graphs if isinstance(graph, ir.Graph) for name in graph.initializers}
    for node, value in absent:
        value.name = unique_name(f"{node.name or node.op_type}_unread", taken)
