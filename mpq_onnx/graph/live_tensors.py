"""Which tensors are in memory at the same time while a graph runs, node after node."""

from collections.abc import Collection

import onnx_ir as ir


def alive_together(model: ir.Model, tensors: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """The largest sets of `tensors` that are needed at once, in the order of the nodes.

    A tensor is needed from the node that makes it (an input, from the first one) to the last that reads it, an output of the
    model to the end. What lies between two of `tensors` is computed as it passes: a tensor is needed until the readers of
    whatever is made of it, up to the next of `tensors`, are done.
    """
    counted = set(tensors)
    nodes = list(model.graph)
    last = _last_reads(model, nodes, counted)
    first = {str(value.name): 0 for value in model.graph.inputs}
    first |= {str(value.name): at for at, node in enumerate(nodes) for value in node.outputs}
    spans = sorted((first[name], last.get(name, first[name]), name) for name in counted if name in first)
    found: list[tuple[str, ...]] = []
    # A set is largest where a tensor has just been made: afterwards there are only fewer, until the next.
    for start in sorted({begin for begin, _, _ in spans}):
        names = tuple(name for begin, end, name in spans if begin <= start <= end)
        if not found or not set(found[-1]) <= set(names):
            found.append(names)
        else:
            found[-1] = names
    return tuple(found)


def _last_reads(model: ir.Model, nodes: list[ir.Node], counted: set[str]) -> dict[str, int]:
    """Position of the last node that needs each value."""
    outputs = {str(value.name) for value in model.graph.outputs}
    needed: dict[str, int] = dict.fromkeys(outputs, len(nodes))
    for at in range(len(nodes) - 1, -1, -1):
        node = nodes[at]
        passed_on = [
            needed.get(str(value.name), at) for value in node.outputs if str(value.name) not in counted
        ]
        until = max([at, *passed_on])
        for value in values_read(node):
            needed[str(value.name)] = max(needed.get(str(value.name), at), until)
    return needed


def values_read(node: ir.Node) -> list[ir.Value]:
    """What a node reads, inside its branches too."""
    found = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found += [value for inner in attribute.as_graph() for value in values_read(inner)]
    return found
