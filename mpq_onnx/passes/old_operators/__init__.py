"""Operators whose meaning changed between opset 7 and today, and that ONNX's converter gets wrong: one kind a file.

Each module has restate(node, opset), which gives the nodes of today that compute what `node` does at `opset` (the last one's
output takes its place), None where the node may stay as it is for the converter.
"""

from collections.abc import Callable, Sequence

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.old_operators import group_normalization, resize, softmax

WAITING = "mpq_onnx.today"
"""Domain of restated nodes while the converter, which leaves other domains alone, does the rest."""

RESTATED: dict[str, Callable[[ir.Node, int], Sequence[ir.Node] | None]] = {
    "Softmax": softmax.restate,
    "LogSoftmax": softmax.restate,
    "Hardmax": softmax.restate,
    "Upsample": resize.restate,
    "Resize": resize.restate,
    "GroupNormalization": group_normalization.restate,
}


def restate_old_operators(model: ir.Model, opset: int) -> None:
    """Replace them in all graphs by nodes that wait for release_restated.

    Raises:
        ModelError: a node whose meaning hangs on a shape that is not known.
    """
    for node in list(model.graph.all_nodes()):
        restate = RESTATED.get(node.op_type) if is_standard(node) else None
        nodes = restate(node, opset) if restate is not None else None
        if nodes is None:
            continue
        for each in nodes:
            each.domain = WAITING
        old, new = node.outputs[0], nodes[-1].outputs[0]
        new.name, new.type, new.shape = old.name, old.type, old.shape
        assert node.graph is not None
        nodes[-1].name = node.name
        ir.convenience.replace_nodes_and_values(node.graph, node, [node], nodes, [old], [new])
        model.opset_imports[WAITING] = 1


def release_restated(model: ir.Model) -> None:
    """The restated nodes are ONNX's own again, once the model is at today's opset."""
    for node in model.graph.all_nodes():
        if node.domain == WAITING:
            node.domain = ""
    model.opset_imports.pop(WAITING, None)
