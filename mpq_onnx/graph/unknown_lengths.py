"""Lengths that exporters write for "any": -1 on every axis, 0 on the batch axis of an input."""

from collections.abc import Callable

import onnx_ir as ir


def open_unknown_lengths(model: ir.Model) -> bool:
    """Make those axes open ones; True where there were any.

    A 0 elsewhere is a length: an empty cache of keys and values, say.
    """
    changed = False
    for value in model.graph.inputs:
        if value.name not in model.graph.initializers:
            changed |= _open(value, lambda axis, size: size < 0 or (axis == 0 and size == 0))
    for node in model.graph.all_nodes():
        for value in node.outputs:
            changed |= _open(value, lambda axis, size: size < 0)
    return changed


def _open(value: ir.Value, is_unknown: Callable[[int, int], bool]) -> bool:
    if value.shape is None:
        return False
    sizes = [
        None if isinstance(size, int) and is_unknown(axis, size) else size
        for axis, size in enumerate(value.shape)
    ]
    if list(value.shape) == sizes:
        return False
    value.shape = ir.Shape(sizes)
    return True
