"""Another reading of Reshapes that hold a batch size, for graphs whose batch does not lie first.

PyTorch's attention works on [tokens, batch, width] and writes [tokens * batch, width] and [tokens, batch * heads, length]. With
a batch of 1 such a target may mean several things; which of them is right, the outputs on several batches at once tell.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.reshape_targets import REST, resolved_sizes
from mpq_onnx.passes.batch_constants import FREED, Free, constant_for, varying_axis
from mpq_onnx.passes.followed_shapes import FollowedShapes


def reshape_between(
    node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int
) -> str | None:
    """The batch at the axis that is as long as it, else merged with an axis before the last."""
    sizes, places = batch_places(node, written, followed, size)
    if not places:
        return FREED["Reshape"](node, written, followed, size)
    explicit = [place for place in places if sizes[place] == size]
    inner = [place for place in places if place < len(sizes) - 1]
    chosen = (explicit or inner[-1:] or places)[0]
    freed = [REST if place == chosen else length for place, length in enumerate(sizes)]
    node.replace_input_with(1, constant_for(node, freed))
    node.attributes.pop("allowzero", None)
    return None


def batch_places(
    node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int
) -> tuple[list[int], list[int]]:
    """(lengths that a Reshape makes, axes of them that may hold the batch); nothing where the target holds no batch size."""
    data, target = node.inputs[:2]
    axis, shape, wanted = varying_axis(data, written, followed), written.shape(data), written.known(target)
    again = followed.known(target)
    if (
        axis is None
        or shape is None
        or wanted is None
        or (again is not None and not np.array_equal(wanted, again))
    ):
        return [], []
    sizes = resolved_sizes(shape, wanted.tolist(), bool(node.attributes.get_int("allowzero", 0)))
    if sizes is None:
        return [], []
    lengths = [int(length) for length in shape if length is not None]
    span = math.prod(lengths[:axis]), math.prod(lengths[: axis + 1])
    return sizes, [place for place in range(len(sizes)) if _may_hold(sizes, place, span, size)]


def _may_hold(sizes: Sequence[int], place: int, span: tuple[int, int], size: int) -> bool:
    """Whether an axis takes in elements of the data's axis, whose strides end at `span`; a batch of 1 may lie at its edge."""
    first, last = math.prod(sizes[:place]), math.prod(sizes[: place + 1])
    if sizes[place] % size:
        return False
    return first <= span[1] and last >= span[0] if size == 1 else first < span[1] and last > span[0]


def written_batch(node: ir.Node, written: FollowedShapes, followed: FollowedShapes, size: int) -> str | None:
    """`node NAME (Reshape to [5, 16])` for a target that may be read in several ways, or in none; None for others."""
    if node.op_type != "Reshape":
        return None
    sizes, places = batch_places(node, written, followed, size)
    if not sizes or len(places) == 1:
        return None
    return f"node {node.name} (Reshape to {sizes})"


BETWEEN: dict[str, Free] = {**FREED, "Reshape": reshape_between}
READINGS: tuple[dict[str, Free], ...] = (FREED, BETWEEN)
"""Tried one after the other, until the outputs are the source's."""
