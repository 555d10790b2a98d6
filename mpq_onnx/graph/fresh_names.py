"""Names for the values and nodes that are added to a graph: none that the model has already, whatever its own are called."""

from collections.abc import Iterator

import onnx_ir as ir

from mpq_onnx.graph.node_names import unique_name

VALUE_NAMES, NODE_NAMES = "mpq_onnx.value_names", "mpq_onnx.node_names"
"""Where a graph in memory keeps the names that are taken: looked up once a graph, not once a name."""


def fresh_name(graph: ir.Graph, wanted: str) -> str:
    """`wanted`, or with a number behind it a name that no value of `graph` and its subgraphs has.

    It counts as taken from then on. Names that leave the graph stay taken.

    Args:
        graph: the model's main graph, also for what is added to a subgraph: a subgraph's names must differ from those around.
    """
    taken = _taken(graph, VALUE_NAMES)
    while True:
        name = unique_name(wanted, taken)
        if name not in graph.initializers:
            return name


def fresh_node_name(graph: ir.Graph, wanted: str) -> str:
    """The same for the name of a node."""
    return unique_name(wanted, _taken(graph, NODE_NAMES))


def take_name(graph: ir.Graph, new: ir.Value, old: ir.Value, left: str) -> None:
    """Give `new` the name of `old`, which is called `left` from then on, or something like it that is free."""
    name = old.name
    old.name = fresh_name(graph, left)
    new.name = name


def _taken(graph: ir.Graph, key: str) -> set[str]:
    if key not in graph.meta:
        values: set[str] = set()
        nodes: set[str] = set()
        graph.meta[VALUE_NAMES], graph.meta[NODE_NAMES] = values, nodes
        for each in (graph, *graph.subgraphs()):
            values.update(str(value.name) for value in _values(each) if value.name)
            nodes.update(str(node.name) for node in each if node.name)
    taken: set[str] = graph.meta[key]
    return taken


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
