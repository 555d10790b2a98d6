"""Where a batch size is written into a graph, and how it is taken out; one function an operator.

Each gets a node and the shapes of all tensors for the batch size that is written and for a multiple of it. It changes the node,
or says why the batch cannot be opened.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.reshape_targets import COPIED, REST, resolved_sizes
from mpq_onnx.passes.followed_shapes import FollowedShapes, Lengths

"""In a Reshape's target: the input's own length along this axis; what is left."""
WHOLE = np.iinfo(np.int64).max
"""The end of a Slice that takes all."""
LAYOUT_AXIS = 1
"""The batch axis of a recurrent operator's states."""

Free = Callable[[ir.Node, FollowedShapes, FollowedShapes, int], str | None]


def varying_axis(value: ir.Value | None, written: FollowedShapes, followed: FollowedShapes) -> int | None:
    """The one axis whose length goes with the batch; None where there is none, or it is not known."""
    one, other = written.shape(value), followed.shape(value)
    if one is None or other is None or len(one) != len(other):
        return None
    axes = [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return axes[0] if len(axes) == 1 else None


def _reshape(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    data, target = node.inputs
    axis, wanted = varying_axis(data, written, followed), written.known(target)
    shape = written.shape(data)
    if axis is None or wanted is None or shape is None:
        return None if axis is None else _free_part(node, target, size)
    again = followed.known(target)
    if again is not None and not np.array_equal(wanted, again):
        return None  # computed from the batch
    freed = _free_target(shape, axis, wanted.tolist(), bool(node.attributes.get_int("allowzero", 0)))
    if freed is not None:
        node.replace_input_with(1, constant_for(node, freed))
        node.attributes.pop("allowzero", None)
    return None


def _free_target(shape: Lengths, axis: int, target: list[int], keep_zeros: bool) -> list[int] | None:
    """A target of Reshape that holds for any length of `axis`; None where the given one does, or none can be told."""
    if target and target[0] == shape[0] and axis == 0:
        return [COPIED, *target[1:]] if 0 not in target or not keep_zeros else None
    if target and target[0] == COPIED and axis == 0 and not keep_zeros:
        return None
    sizes = resolved_sizes(shape, target, keep_zeros)
    if sizes is None:
        return None
    before = math.prod(size for size in shape[:axis] if size is not None)
    for place in range(len(sizes)):
        if math.prod(sizes[:place]) == before:
            return [REST if each == place else size for each, size in enumerate(sizes)]
    return None


def _free_part(node: ir.Node, target: ir.Value | None, size: int) -> str | None:
    """A computed target that begins with the batch size as a constant: the input's own length there."""
    concat = target.producer() if target is not None else None
    first = concat.inputs[0] if concat is not None and concat.op_type == "Concat" else None
    numbers = first.const_value.numpy() if first is not None and first.const_value is not None else None
    if concat is not None and numbers is not None and numbers.size and numbers.reshape(-1)[0] == size:
        concat.replace_input_with(0, constant_for(concat, [COPIED, *numbers.reshape(-1)[1:].tolist()]))
    return None


def _expand(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    """The batch size where the data goes with the batch, or holds one row for all: 1, which keeps the length."""
    data, target = node.inputs
    wanted, again, shape = written.known(target), followed.known(target), written.shape(data)
    if wanted is None or shape is None or (again is not None and not np.array_equal(wanted, again)):
        return None
    axis = varying_axis(data, written, followed)
    place = (
        len(wanted) - len(shape) + axis if axis is not None else (0 if len(wanted) == len(shape) else None)
    )
    if place is None or wanted[place] != size or (axis is None and shape[place] not in (1, size)):
        return None
    node.replace_input_with(
        1, constant_for(node, [*wanted[:place].tolist(), 1, *wanted[place + 1 :].tolist()])
    )
    return None


def _tile(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    """A row that is repeated for the batch: left one row, which elementwise operators repeat themselves."""
    repeats = written.known(node.inputs[1])
    if size == 1 or repeats is None or varying_axis(node.inputs[0], written, followed) is not None:
        return None
    if len(repeats) and repeats[0] == size:
        node.replace_input_with(1, constant_for(node, [1, *repeats[1:].tolist()]))
    return None


def _slice(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    """All of the batch: to the end, not to the batch size."""
    axis = varying_axis(node.inputs[0], written, followed)
    starts, ends = written.known(node.inputs[1]), written.known(node.inputs[2])
    if axis is None or starts is None or ends is None:
        return None
    given = written.known(node.inputs[3]) if len(node.inputs) > 3 else None
    shape = written.shape(node.inputs[0])
    axes = (np.arange(len(starts)) if given is None else given) % len(shape or [1])
    places = np.flatnonzero((axes == axis) & (starts == 0) & (ends == size))
    if len(places):
        node.replace_input_with(
            2, constant_for(node, [WHOLE if at in places else int(end) for at, end in enumerate(ends)])
        )
    return None


def _squeeze(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    axis, shape = varying_axis(node.inputs[0], written, followed), written.shape(node.inputs[0])
    if axis is None or shape is None or shape[axis] != 1:
        return None
    axes = written.known(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or axis in axes % len(shape):
        return f"node {node.name} (Squeeze) takes the batch axis away"
    return None


def _gather(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    axis, shape = varying_axis(node.inputs[0], written, followed), written.shape(node.inputs[0])
    if axis is None or shape is None or node.attributes.get_int("axis", 0) % len(shape) != axis:
        return None
    constant = node.inputs[1] is not None and node.inputs[1].const_value is not None
    return f"node {node.name} (Gather) picks one example of the batch" if constant else None


def _concat(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    """A learned token, or another constant of one row: repeated for the batch of what it is joined with."""
    joined = node.attributes.get_int("axis")
    examples = [
        value
        for value in node.inputs
        if value is not None and varying_axis(value, written, followed) is not None
    ]
    if not examples or joined is None:
        return None
    axis = varying_axis(examples[0], written, followed)
    rank = len(written.shape(examples[0]) or [1])
    if axis is None or joined % rank == axis:
        return None
    for place, value in enumerate(node.inputs):
        shape = written.shape(value)
        if value in examples or value is None or shape is None or len(shape) != rank or shape[axis] != 1:
            continue
        if followed.shape(value) == shape:
            node.replace_input_with(place, _repeated(node, value, examples[0], axis, rank))
    return None


def _states(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    """First states of zeros are what an operator without any begins with; others are repeated for the batch."""
    data = node.inputs[0]
    axis = varying_axis(data, written, followed)
    if axis is None or data is None:
        return None
    for place in (5, 6):
        state = node.inputs[place] if len(node.inputs) > place else None
        shape = written.shape(state)
        if state is None or shape is None or followed.shape(state) != shape or shape[LAYOUT_AXIS] != size:
            continue
        if _is_zero(state):
            node.replace_input_with(place, None)
        elif size == 1:
            node.replace_input_with(place, _repeated(node, state, data, axis, len(shape), LAYOUT_AXIS))
    lengths = node.inputs[4] if len(node.inputs) > 4 else None
    steps = (written.shape(data) or [None])[0]
    if (
        lengths is not None
        and lengths.const_value is not None
        and (lengths.const_value.numpy() == steps).all()
    ):
        node.replace_input_with(4, None)
    return None


def _resize(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    """Sizes that name the batch: its own length there."""
    data, sizes = node.inputs[0], node.inputs[3] if len(node.inputs) > 3 else None
    axis, shape, numbers = varying_axis(data, written, followed), written.shape(data), written.known(sizes)
    if data is None or axis is None or shape is None or numbers is None or not len(numbers):
        return None
    axes = [each % len(shape) for each in node.attributes.get_ints("axes", None) or range(len(shape))]
    if axis in axes and numbers[axes.index(axis)] == size:
        place = axes.index(axis)
        parts = (numbers[:place].tolist(), numbers[place + 1 :].tolist())
        node.replace_input_with(3, _around(node, data, axis, *parts))
    return None


def _is_zero(value: ir.Value) -> bool:
    if value.const_value is not None:
        return not value.const_value.numpy().any()
    producer = value.producer()
    if producer is None or producer.op_type != "ConstantOfShape":
        return False
    fill = producer.attributes.get("value")
    return fill is None or not fill.as_tensor().numpy().any()


def _repeated(
    node: ir.Node, value: ir.Value, example: ir.Value, example_axis: int, rank: int, axis: int | None = None
) -> ir.Value:
    """`value`, of length 1 along `axis`, as often as `example` has examples."""
    place = example_axis if axis is None else axis
    sizes = _around(node, example, example_axis, [1] * place, [1] * (rank - place - 1))
    expand = ir.node("Expand", [value, sizes])
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    if dtype is not None:
        expand.outputs[0].dtype = dtype
    _insert(node, [expand])
    return expand.outputs[0]


def _around(
    node: ir.Node, example: ir.Value, axis: int, before: Sequence[int], after: Sequence[int]
) -> ir.Value:
    """The length of `example` along `axis` between constants, put in before `node`."""
    batch = ir.node("Shape", [example], {"start": axis, "end": axis + 1})
    ends = [constant_for(node, numbers) for numbers in (before, after)]
    sizes = ir.node("Concat", [ends[0], batch.outputs[0], ends[1]], {"axis": 0})
    for made in (batch, sizes):
        made.outputs[0].dtype = ir.DataType.INT64
    _insert(node, [batch, sizes])
    return sizes.outputs[0]


def constant_for(node: ir.Node, numbers: Sequence[int]) -> ir.Value:
    """A constant of whole numbers, put in before `node`."""
    made = ir.node("Constant", [], {"value": ir.tensor(np.array(numbers, np.int64))})
    made.outputs[0].dtype, made.outputs[0].shape = ir.DataType.INT64, ir.Shape([len(numbers)])
    made.outputs[0].const_value = ir.tensor(np.array(numbers, np.int64))
    _insert(node, [made])
    return made.outputs[0]


def _insert(node: ir.Node, nodes: Sequence[ir.Node]) -> None:
    graph = node.graph
    assert graph is not None
    for each in nodes:
        each.name = fresh_node_name(graph, f"{node.name}_{each.op_type.lower()}")
        each.outputs[0].name = fresh_name(graph, f"{each.name}_output")
    graph.insert_before(node, nodes)


FREED: dict[str, Free] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Gather": _gather,
    "Concat": _concat,
    "Resize": _resize,
    "LSTM": _states,
    "GRU": _states,
    "RNN": _states,
}
