"""Constants and normalizations behind a view of a multiply-accumulate's output, as in exports of one-dimensional layers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.fusing.affine import AFFINE
from mpq_onnx.passes.fusing.affine_into_weights import FOLDS, has_own_weight, output_channel_axis
from mpq_onnx.passes.fusing.axes import same_shape, varying_axes
from mpq_onnx.passes.fusing.reading import constant_array, producer
from mpq_onnx.passes.fusing.root_rule import Build, RootRule

NORMALIZATION = "BatchNormalization"
RESHAPES = frozenset({"Reshape", "Flatten"})
"""Views behind which channels may lie anywhere."""


class AffineBehindViewsRule(RootRule):
    """Conv, Squeeze or Slice or the like, Add of one constant a channel -> Conv, Add, Squeeze or Slice or the like

    Keras and tf2onnx write a one-dimensional convolution as a two-dimensional one between views, with bias and normalization
    behind the last. Ahead of the views they can go into the weights. What is moved: Add, Sub, Mul, Div with a constant;
    BatchNormalization, where the channels are along axis 1 on both sides. One number, as the scale of attention's queries, is
    moved past a Reshape as well.
    """

    def find(self, root: ir.Node) -> Build | None:
        index = _signal_input(root)
        if index is None:
            return None
        views: list[ir.Node] = []
        value = root.inputs[index]
        while (
            (node := producer(value)) is not None
            and node.op_type in (*AXIS_BEHIND, *RESHAPES)
            and _has_one_reader(value)
        ):
            views.insert(0, node)
            value = node.inputs[0]
        node = _multiplier(value)
        if not views or node is None or value is None or value.shape is None:
            return None
        inner = output_channel_axis(node.op_type, len(value.shape))
        outer = _axis_behind(views, inner)
        if outer is None and not _is_one_number(root, 1 - index):
            return None
        if root.op_type == NORMALIZATION:
            return _ahead(root, index, root.inputs[1:], value, views) if inner == outer == 1 else None
        constant = _turned_constant(root, 1 - index, outer, len(value.shape), inner)
        return None if constant is None else _ahead(root, index, [constant], value, views)


def _multiplier(value: ir.Value | None) -> ir.Node | None:
    """The node whose weights can take what is behind `value`: its own output, or constants further on."""
    while (node := producer(value)) is not None and _has_one_reader(value):
        if node.op_type in FOLDS:
            return node if has_own_weight(node) else None
        index = _signal_input(node) if node.op_type in (*AFFINE, NORMALIZATION) else None
        if index is None:
            return None
        value = node.inputs[index]
    return None


def _signal_input(root: ir.Node) -> int | None:
    """The input that is computed, where the rest is constant and the output has its shape."""
    if root.op_type == NORMALIZATION:
        others = [constant_array(value) for value in root.inputs[1:]]
        return 0 if len(root.outputs) == 1 and all(each is not None for each in others) else None
    for index in (0, 1) if root.op_type != "Div" else (0,):
        value, other = root.inputs[index], root.inputs[1 - index]
        if value is not None and constant_array(other) is not None:
            return index if same_shape(root.outputs[0].shape, value.shape) else None
    return None


def _is_one_number(root: ir.Node, index: int) -> bool:
    array = constant_array(root.inputs[index]) if root.op_type in AFFINE else None
    return array is not None and array.size == 1


def _turned_constant(
    root: ir.Node, index: int, axis: int | None, rank: int, wanted: int
) -> np.ndarray | None:
    """The constant operand as it stands beside a tensor of `rank` whose channels are along `wanted`, not `axis`."""
    array = constant_array(root.inputs[index])
    shape = root.outputs[0].shape
    if array is not None and array.size == 1:
        return array.reshape([1] * rank)
    if array is None or shape is None or not set(varying_axes(array, len(shape))) <= {axis}:
        return None
    beside = [1] * rank
    beside[wanted] = -1
    return array.reshape(beside)


def _ahead(
    root: ir.Node,
    index: int,
    beside: Sequence[ir.Value | np.ndarray | None],
    value: ir.Value,
    views: list[ir.Node],
) -> Build:
    def build(op: Any) -> ir.Value:
        operands = [
            op.Constant(value=ir.tensor(each.astype(np.float32))) if isinstance(each, np.ndarray) else each
            for each in beside
        ]
        operands.insert(index, value)
        moved = _like(value, getattr(op, root.op_type)(*operands, **root.attributes))
        for view in views:
            moved = getattr(op, view.op_type)(moved, *view.inputs[1:], **view.attributes)
            _like(view.outputs[0], moved)
        return moved

    return build


def _like(known: ir.Value, value: ir.Value) -> ir.Value:
    """`value` with the shape and the type of `known`: the next rules look at both."""
    value.shape, value.type = known.shape, known.type
    return value


def _has_one_reader(value: ir.Value | None) -> bool:
    """Views that an earlier rewrite left without readers do not count."""
    if value is None or value.is_graph_output():
        return False
    return (
        sum(any(each.uses() or each.is_graph_output() for each in use.node.outputs) for use in value.uses())
        == 1
    )


def _axis_behind(views: Sequence[ir.Node], axis: int) -> int | None:
    """Where the channels lie behind `views`; None where a view mixes or drops them."""
    found: int | None = axis
    for view in views:
        follow = AXIS_BEHIND.get(view.op_type)
        found = None if found is None or follow is None else follow(view, found)
    return found


def _behind_slice(view: ir.Node, axis: int) -> int | None:
    """The axis must be left whole: not cut, not turned round."""
    source, output = view.inputs[0], view.outputs[0].shape
    axes, steps = _integers(view, 3), _integers(view, 4) if len(view.inputs) > 4 else [1]
    if axes is None or steps is None or output is None or source is None or source.shape is None:
        return None
    if axis not in {each % len(source.shape) for each in axes}:
        return axis
    whole = isinstance(output[axis], int) and output[axis] == source.shape[axis]
    return axis if whole and set(steps) == {1} else None


def _behind_squeeze(view: ir.Node, axis: int) -> int | None:
    source = view.inputs[0]
    axes = _integers(view, 1)
    if axes is None or source is None or source.shape is None:
        return None
    gone = {each % len(source.shape) for each in axes}
    return None if axis in gone else axis - sum(each < axis for each in gone)


def _behind_unsqueeze(view: ir.Node, axis: int) -> int | None:
    output = view.outputs[0].shape
    axes = _integers(view, 1)
    if axes is None or output is None:
        return None
    new = {each % len(output) for each in axes}
    return [each for each in range(len(output)) if each not in new][axis]


def _behind_transpose(view: ir.Node, axis: int) -> int | None:
    order = view.attributes.get_ints("perm", None)
    return None if order is None else list(order).index(axis)


def _integers(node: ir.Node, index: int) -> list[int] | None:
    """A constant input's elements."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return [int(each) for each in value.const_value.numpy().reshape(-1)]


AXIS_BEHIND: dict[str, Callable[[ir.Node, int], int | None]] = {
    "Slice": _behind_slice,
    "Squeeze": _behind_squeeze,
    "Transpose": _behind_transpose,
    "Unsqueeze": _behind_unsqueeze,
}
"""The views that are looked through: (node, axis of the channels before it) -> their axis behind it."""
RULES = AffineBehindViewsRule.rules(sorted({*AFFINE, NORMALIZATION}))
