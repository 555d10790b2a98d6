"""What some of an If's outputs hang on: the If without its other outputs, and without what its branches compute for them.

A loop that is left early ends with such a node: its branches tell whether it goes on beside what it carries.
"""

from collections.abc import Iterator

import onnx


def part_of(node: onnx.NodeProto, wanted: set[str]) -> onnx.NodeProto:
    """`node`, or a copy of an If that has the wanted outputs alone, by name; branches inside branches likewise.

    Such a copy has no name: there may be several of a node.
    """
    if node.op_type != "If":
        return node
    kept = [place for place, name in enumerate(node.output) if name in wanted]
    part = onnx.NodeProto()
    part.CopyFrom(node)
    part.ClearField("name")
    del part.output[:]
    part.output.extend(node.output[place] for place in kept)
    for graph in _bodies(part):
        _keep(graph, kept)
    return part


def names_read(node: onnx.NodeProto) -> set[str]:
    """The names of all that a node and those inside it read, whether it comes from around the node or not."""
    found = {name for each in nodes_within(node) for name in each.input}
    return found | {
        value.name for each in nodes_within(node) for graph in _bodies(each) for value in graph.output
    }


def nodes_within(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node itself, and those of its branches and loops."""
    yield node
    for graph in _bodies(node):
        for inner in graph.node:
            yield from nodes_within(inner)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def _keep(graph: onnx.GraphProto, kept: list[int]) -> None:
    """Leave those outputs, by place, and what they hang on."""
    outputs = [graph.output[place] for place in kept]
    wanted = {value.name for value in outputs}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            nodes.insert(0, part_of(node, wanted))
            wanted |= names_read(nodes[0])
    rest = onnx.GraphProto(name=graph.name, node=nodes, output=outputs, initializer=graph.initializer)
    graph.CopyFrom(rest)
