"""Embedding tables: constant matrices that rows are gathered from. They get a fixed width, a scale per row."""

from collections.abc import Set

import onnx_ir as ir

from mpq_onnx.placement.sites import WeightSite

EMBEDDING_BITS = 8


def embedding_sites(model: ir.Model, taken: Set[str], bits: int) -> tuple[WeightSite, ...]:
    """The tables in graph order, each named after its first reader.

    Args:
        taken: weights that are sites already (a table that is the classifier's weight too has the classifier's width).
        bits: their width; 0 leaves them float.
    """
    sites: dict[str, WeightSite] = {}
    for node in model.graph:
        table = node.inputs[0] if node.op_type == "Gather" and node.domain in ("", "ai.onnx") else None
        if table is None or table.const_value is None or table.name in taken or table.name in sites:
            continue
        rows = node.inputs[1]
        shape = tuple(table.const_value.shape.numpy())
        by_row = node.attributes.get_int("axis", 0) == 0 and len(shape) == 2
        is_float = table.dtype is not None and table.dtype.is_floating_point()
        if not by_row or not is_float or rows is None or rows.const_value is not None:
            continue
        sites[str(table.name)] = WeightSite(
            node=str(node.name),
            op_type=node.op_type,
            tensor=str(table.name),
            input=str(rows.name),
            source=None,
            bias=None,
            output=str(node.outputs[0].name),
            channel_axis=0,
            shape=shape,
            macs=0,
            fixed_bits=bits,
        )
    return tuple(sites.values())
