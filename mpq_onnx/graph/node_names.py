"""Every node has a name, and no two of a model share one: tables, hand-off files and allocations go by names."""

from collections.abc import Iterable

import onnx_ir as ir


def complete_names(model: ir.Model) -> bool:
    """Name the nodes that have no name, or one that an earlier node has; all other names stay.

    Returns:
        True where a name changed.
    """
    graphs: Iterable[ir.Graph | ir.Function] = (model.graph, *model.functions.values())
    changed = False
    for graph in graphs:
        nodes = list(graph.all_nodes())
        names = [node.name for node in nodes]
        taken: set[str] = set()
        waiting = []
        for node in nodes:
            if node.name and node.name not in taken:
                taken.add(node.name)
            else:
                waiting.append(node)
        for node in waiting:
            node.name = unique_name(node.name or own_name(node), taken)
        changed |= names != [node.name for node in nodes]
    return changed


def own_name(node: ir.Node) -> str:
    """What a node without a name is called: by its output, which has a name of its own, or by its operator."""
    return next((value.name for value in node.outputs if value.name), None) or node.op_type


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, or with a number behind it what is not `taken` yet; it is taken from then on."""
    candidate, count = name, 1
    while candidate in taken:
        candidate, count = f"{name}_{count}", count + 1
    taken.add(candidate)
    return candidate
