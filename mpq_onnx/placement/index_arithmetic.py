"""Values that stem from integer inputs and constants alone: positions, counts, attention masks. They stay exact.

They are bookkeeping, not signals, and an attention mask's -3e38 for "never" would leave no level for anything else. A Softmax
applies its mask itself, so that the masked scores get no quantizer either; those without the mask do.
"""

from collections.abc import Set

import onnx_ir as ir

from mpq_onnx.graph.mac import weight_input
from mpq_onnx.placement.graph_roles import is_constant, is_float

TABLE_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})
MASKING = frozenset({"Add", "Where"})


def exact_values(model: ir.Model) -> set[str]:
    """Names of all such values, in a canonical float model."""
    exact = {str(value.name) for value in model.graph.inputs if not is_float(value)}
    for node in model.graph:
        looks_up = node.op_type in TABLE_LOOKUPS and is_constant(node.inputs[0]) and is_float(node.inputs[0])
        if looks_up or weight_input(node) is not None:
            continue
        if all(value is None or is_constant(value) or value.name in exact for value in node.inputs):
            exact.update(str(value.name) for value in node.outputs)
    return exact


def masks_softmax(node: ir.Node, exact: Set[str]) -> bool:
    """True for the node that lays an exact mask over the scores of the one Softmax that reads it."""
    uses = tuple(node.outputs[0].uses())
    if node.op_type not in MASKING or len(uses) != 1 or uses[0].node.op_type != "Softmax":
        return False
    known = [value is None or is_constant(value) or value.name in exact for value in node.inputs]
    return sum(known) == len(known) - 1 and any(
        value is not None and value.name in exact for value in node.inputs
    )
