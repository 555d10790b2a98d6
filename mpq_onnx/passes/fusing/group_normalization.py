"""GroupNorm, written as an InstanceNorm of channels that a Reshape has put together."""

from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.fusing.affine import AFFINE, affine_behind, is_followed_by_affine
from mpq_onnx.passes.fusing.axes import same_shape
from mpq_onnx.passes.fusing.reading import ARITHMETIC, ancestors, constant_array, is_closed, producer
from mpq_onnx.passes.fusing.root_rule import Build, RootRule

FARTHEST = 8
NORMALIZATIONS = frozenset({"InstanceNormalization", "LayerNormalization"})


class GroupNormalizationRule(RootRule):
    """Reshape(x, [n, groups, ...]), normalized over all axes from 2 on, Reshape back, * scale + bias
    -> GroupNormalization(x, scale, bias, groups); InstanceNormalization where a group is one channel
    """

    def find(self, root: ir.Node) -> Build | None:
        if is_followed_by_affine(root):
            return None
        output = root.outputs[0]
        for value in ancestors(output, FARTHEST, ARITHMETIC):
            back = producer(value)
            inner = None if back is None or back.op_type != "Reshape" else producer(back.inputs[0])
            if back is None or inner is None or inner.op_type not in NORMALIZATIONS:
                continue
            there = producer(inner.inputs[0])
            if there is None or there.op_type != "Reshape" or there.inputs[0] is None:
                continue
            build = _grouped(there.inputs[0], there, inner, back, root)
            if build is not None:
                return build
        return None


def _grouped(x: ir.Value, there: ir.Node, inner: ir.Node, back: ir.Node, root: ir.Node) -> Build | None:
    groups = _groups(x, there.outputs[0].shape)
    parameters = _uniform_parameters(inner)
    value = back.outputs[0]
    affine = affine_behind(value, root.outputs[0])
    if groups is None or parameters is None or affine is None or not _covers_space(inner):
        return None
    if not same_shape(x.shape, value.shape) or x.shape is None or not affine.varies_along(1, len(x.shape)):
        return None
    if not is_closed(root, {*affine.interior, there, inner, back}):
        return None
    channels = int(x.shape[1])  # type: ignore[arg-type]
    scale, bias = parameters
    arrays = (scale * affine.scale, bias * affine.scale + affine.bias)
    epsilon = inner.attributes.get_float("epsilon", 1e-5)
    name, dtype = str(root.outputs[0].name), (x.dtype or ir.DataType.FLOAT).numpy()

    def build(op: Any) -> ir.Value:
        constants = []
        for array, kind in zip(arrays, ("gamma", "beta"), strict=True):
            spread = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (channels,)), dtype)
            constants.append(op.Constant(value=ir.tensor(spread), _outputs=[f"{name}_{kind}"]))
        if groups == channels:
            return op.InstanceNormalization(x, *constants, epsilon=epsilon)
        return op.GroupNormalization(x, *constants, epsilon=epsilon, num_groups=groups)

    return build


def _groups(x: ir.Value, view: ir.Shape | None) -> int | None:
    """The number of groups of channels in a view [n, groups, ...] of x [n, channels, ...]."""
    if x.shape is None or view is None or len(x.shape) < 3 or len(view) < 3:
        return None
    channels, groups = x.shape[1], view[1]
    if not isinstance(channels, int) or not isinstance(groups, int) or channels % groups:
        return None
    same_batch = same_shape([x.shape[0]], [view[0]]) and (
        x.shape[0] == view[0] or _elements(x.shape[1:]) == _elements(view[1:]) != None  # noqa: E711
    )
    return groups if same_batch else None


def _elements(sizes: Any) -> int | None:
    return int(np.prod(sizes)) if all(isinstance(size, int) for size in sizes) else None


def _covers_space(inner: ir.Node) -> bool:
    if inner.op_type == "InstanceNormalization":
        return True
    value = inner.inputs[0]
    if value is None or value.shape is None:
        return False
    rank = len(value.shape)
    return (inner.attributes.get_int("axis", -1) or 0) % rank == 2


def _uniform_parameters(inner: ir.Node) -> tuple[float, float] | None:
    """Scale and bias where each is one number."""
    found = []
    for index, missing in ((1, 1.0), (2, 0.0)):
        value = inner.inputs[index] if index < len(inner.inputs) else None
        array = np.array([missing]) if value is None else constant_array(value)
        if array is None or (array != array.reshape(-1)[0]).any():
            return None
        found.append(float(array.reshape(-1)[0]))
    return found[0], found[1]


RULES = GroupNormalizationRule.rules([*sorted(AFFINE), "Reshape"])
