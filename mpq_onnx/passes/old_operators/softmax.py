"""Softmax, LogSoftmax and Hardmax before opset 13: over all axes from `axis` on, taken as one.

ONNX's converter writes the shapes it finds into a Reshape, the batch size with them, and leaves Hardmax as it was.
"""

from collections.abc import Sequence

import onnx_ir as ir

CHANGED_IN = 13
OLD_AXIS = 1


def restate(node: ir.Node, opset: int) -> Sequence[ir.Node] | None:
    """Over one axis, after a Flatten where it is not the last; the shape comes back from the input, whatever its batch."""
    if opset >= CHANGED_IN or node.inputs[0] is None:
        return None
    data = node.inputs[0]
    axis = node.attributes.get_int("axis", OLD_AXIS)
    rank = len(data.shape) if data.shape is not None else None
    if axis == -1 or axis + 1 == rank:
        return [ir.node(node.op_type, [data], {"axis": -1})]
    flat = ir.node("Flatten", [data], {"axis": axis})
    over_all = ir.node(node.op_type, flat.outputs, {"axis": -1})
    shape = _shape(data)
    return [flat, over_all, shape, ir.node("Reshape", [over_all.outputs[0], shape.outputs[0]])]


def _shape(data: ir.Value) -> ir.Node:
    """A constant, where all lengths but the first are known; else what Shape finds."""
    if data.shape is not None and all(isinstance(size, int) for size in data.shape[1:]):
        sizes = [-1, *(int(size) for size in data.shape[1:])]  # type: ignore[arg-type]
        if all(sizes):
            return ir.node("Constant", [], {"value": ir.tensor(sizes, dtype=ir.DataType.INT64)})
    return ir.node("Shape", [data])
