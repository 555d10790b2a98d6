"""A node behind another one, for all readers of its output."""

from collections.abc import Callable

import onnx_ir as ir

from mpq_onnx.graph.fresh_names import take_name


def put_behind(graph: ir.Graph, node: ir.Node, make: Callable[[ir.Value], ir.Node]) -> None:
    """Let the readers of `node` read what `make` makes of its output; an output of the model keeps its name.

    The output itself, whose shape is another one from now on, gives its name and shape away.
    """
    old = node.outputs[0]
    uses = list(old.uses())
    added = make(old)
    new = added.outputs[0]
    new.type, new.shape, old.shape = old.type, old.shape, None
    take_name(graph, new, old, f"{old.name}_turned")
    for use in uses:
        use.node.replace_input_with(use.idx, new)
    for position, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[position] = new
    graph.insert_after(node, added)
