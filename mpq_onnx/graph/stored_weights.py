"""The quantizer of a weight that is stored, or rounded, and read through views: a Transpose, a Reshape, an Identity.

Training that knows of quantizers, and exporters of tied weights, write DequantizeLinear -> Transpose -> MatMul.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.graph.quantizers import Quantizer, quantizer_of
from mpq_onnx.graph.reshape_targets import resolved_sizes

SAME_SHAPE = ("Identity", "Dropout")
OTHER_SHAPE = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Keep the order of the elements."""
VIEWS = (*SAME_SHAPE, *OTHER_SHAPE, "Transpose")


@dataclass(frozen=True)
class StoredWeight:
    """What stands behind a weight operand."""

    quantizer: Quantizer
    axis: int | None
    """Of the operand, along which the scales run; None where views leave no such axis, or shapes are not known."""


def stored_weight(value: ir.Value) -> StoredWeight | None:
    """Found backwards through views; None for floats that no quantizer rounds, and for what is computed otherwise."""
    views: list[ir.Node] = []
    while (found := quantizer_of(value)) is None:
        node = value.producer()
        if node is None or node.op_type not in VIEWS or not is_standard(node) or node.inputs[0] is None:
            return None
        views.insert(0, node)
        value = node.inputs[0]
    return StoredWeight(found, found.axis if not views else _axis_behind(found, views))


def _axis_behind(found: Quantizer, views: list[ir.Node]) -> int | None:
    """Where `views`, in their order, leave the axis of the scales."""
    shape = _shape(found)
    if shape is None or not -len(shape) <= found.axis < len(shape):
        return None
    axis = found.axis % len(shape)
    for view in views:
        if view.op_type in SAME_SHAPE:
            continue
        if view.op_type == "Transpose":
            order = view.attributes.get_ints("perm", [*reversed(range(len(shape)))])
            shape, axis = tuple(shape[place] for place in order), [*order].index(axis)
            continue
        after = _static_shape(view.outputs[0]) or _reshaped(view, shape)
        moved = None if after is None else _same_axis(shape, after, axis)
        if after is None or moved is None:
            return None
        shape, axis = after, moved
    return axis


def _shape(found: Quantizer) -> tuple[int, ...] | None:
    """Of what is stored as integers, or of the floats that are rounded."""
    for value in (found.integers, found.source):
        if value is not None and value.const_value is not None:
            return tuple(value.const_value.shape.numpy())
    return None if found.result is None else _static_shape(found.result)


def _static_shape(value: ir.Value) -> tuple[int, ...] | None:
    if value.shape is None or not value.shape.is_static():
        return None
    return tuple(value.shape.numpy())


def _reshaped(view: ir.Node, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """What `view` makes of `shape`, where the file does not say."""
    elements = np.broadcast_to(np.int8(0), shape)  # takes no memory
    if view.op_type == "Flatten":
        axis = view.attributes.get_int("axis", 1)
        return elements.reshape(math.prod(shape[:axis]), -1).shape
    numbers = _numbers(view)
    if view.op_type == "Squeeze":
        return np.squeeze(elements, numbers).shape
    if numbers is None:
        return None
    if view.op_type == "Unsqueeze":
        return np.expand_dims(elements, numbers).shape
    sizes = resolved_sizes(shape, [*numbers], bool(view.attributes.get_int("allowzero", 0)))
    return None if sizes is None else tuple(sizes)


def _numbers(view: ir.Node) -> tuple[int, ...] | None:
    """The axes or the shape that `view` is given, as an input or, in old operator sets, as an attribute."""
    given = view.inputs[1] if len(view.inputs) > 1 else None
    if given is not None and given.const_value is not None:
        return tuple(int(each) for each in given.const_value.numpy())
    found = view.attributes.get_ints("axes", ())
    return tuple(found) or None


def _same_axis(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """The axis of `after` with the elements of `axis` of `before`, in row-major order."""
    outside = math.prod(before[:axis])
    places = (
        place for place, length in enumerate(after)
        if length == before[axis] and math.prod(after[:place]) == outside
    )  # fmt: skip
    return next(places, None)
