"""Embedding tables: constants that entries along one axis are gathered from. They get a fixed width, a scale an entry."""

from collections.abc import Set

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.graph.placement.sites import WeightSite, WeightUse

EMBEDDING_BITS = 8
MATRIX = 2
"""Axes of a table, at least: a scale an entry of a vector would be the vector again."""


def embedding_sites(model: ir.Model, taken: Set[str], bits: int) -> tuple[WeightSite, ...]:
    """The tables in graph order, each named after its first reader.

    Args:
        taken: weights that are sites already (a table that is the classifier's weight too has the classifier's width).
        bits: their width; 0 leaves them float.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    uses: dict[str, list[WeightUse]] = {}
    for node in model.graph:
        table = node.inputs[0] if node.op_type == "Gather" and is_standard(node) else None
        if table is None or table.const_value is None or table.name in taken:
            continue
        rows = node.inputs[1]
        shape = tuple(table.const_value.shape.numpy())
        is_float = table.dtype is not None and table.dtype.is_floating_point()
        if len(shape) < MATRIX or not is_float or rows is None or rows.const_value is not None:
            continue
        shapes[str(table.name)] = shape
        axis, output = node.attributes.get_int("axis", 0) % len(shape), str(node.outputs[0].name)
        use = WeightUse(str(node.name), node.op_type, str(rows.name), None, output, axis, shape[axis], 0)
        uses.setdefault(str(table.name), []).append(use)
    return tuple(
        WeightSite(name, each[0].channel_axis, shapes[name], tuple(each), bits) for name, each in uses.items()
    )
