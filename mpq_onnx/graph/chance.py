"""Nodes that draw random numbers: a network with such a one computes something else at every run."""

from collections.abc import Iterator

import onnx_ir as ir

from mpq_onnx.graph.live_tensors import values_read
from mpq_onnx.graph.operators import RANDOM, SHAPE_READERS, is_standard

ADVICE = "export the network in evaluation mode, or with the mean in the place of what is drawn"


def draws(node: ir.Node) -> bool:
    """True for ONNX's own operators that draw, Dropout left out, which does not outside training."""
    return node.op_type in RANDOM and is_standard(node)


def drawing_nodes(model: ir.Model) -> tuple[str, ...]:
    """`name (operator)` of those that outputs hang on, by more than their shapes; in branches and functions too."""
    live: set[ir.Node] = set()
    waiting = list(model.graph.outputs)
    while waiting:
        node = waiting.pop().producer()
        if node is not None and node not in live and node.op_type not in SHAPE_READERS:
            live.add(node)
            waiting += values_read(node)
    inner = (each for node in model.graph if node in live for each in _inside(node, model))
    return tuple(dict.fromkeys(f"{node.name} ({node.op_type})" for node in inner if draws(node)))


def _inside(node: ir.Node, model: ir.Model) -> Iterator[ir.Node]:
    """The node itself, and those of its branches or of the function that it calls."""
    yield node
    bodies = [each.as_graph() for each in node.attributes.values() if each.type == ir.AttributeType.GRAPH]
    for body in filter(None, [*bodies, model.functions.get(node.op_identifier())]):
        for inner in body:
            yield from _inside(inner, model)
