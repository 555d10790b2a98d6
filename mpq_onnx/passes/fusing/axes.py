"""Axes and shapes that a reduction and the views behind it go through."""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

Dims = Sequence[int | ir.SymbolicDim] | ir.Shape


def reduced_axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes that a reduction runs over, ascending and not negative; None where they are not known."""
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    rank = len(value.shape)
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank))
    axes: Sequence[int] = node.attributes.get_ints("axes", ()) or ()
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is not None:
        if given.const_value is None:
            return None
        axes = [int(axis) for axis in given.const_value.numpy().reshape(-1)]
    if not axes:
        return () if node.attributes.get_int("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis % rank for axis in axes}))


def kept_shape(shape: Dims | None, axes: Sequence[int]) -> list[int | ir.SymbolicDim] | None:
    """`shape` with 1 in place of every axis of `axes`."""
    return None if shape is None else [1 if axis in axes else size for axis, size in enumerate(shape)]


def same_shape(found: Dims | None, wanted: Dims | None) -> bool:
    """True where two shapes of equally many elements agree: at most one dimension may be unknown, the rest tells it."""
    if found is None or wanted is None or len(found) != len(wanted):
        return False
    unknown = 0
    for a, b in zip(found, wanted, strict=True):
        if _is_same(a, b):
            continue
        if isinstance(a, int) and isinstance(b, int):
            return False
        unknown += 1
    return unknown <= 1


def mean_axes_before(source: Dims | None, view: Dims | None, axes: Sequence[int]) -> tuple[int, ...] | None:
    """The trailing axes of `source` that a mean over the trailing `axes` of its reshaped `view` runs over; None where others.

    The leading parts of both shapes must hold the same elements in the same order.
    """
    if source is None or view is None or not axes:
        return None
    source, view = list(source), list(view)
    ones = [axis for axis, size in enumerate(view) if size == 1]
    first = min(axes)
    if any(axis not in axes and axis not in ones for axis in range(first, len(view))):
        return None
    leading = [size for size in view[:first] if size != 1]
    for split in range(len(source) + 1):
        before = [size for size in source[:split] if size != 1]
        after = [size for size in source[split:] if size != 1]
        if not after or len(before) != len(leading):
            continue
        if before == leading or (_mismatches(before, leading) <= 1 and _same_rest(after, view[first:])):
            return tuple(range(split, len(source)))
    return None


def _is_same(a: int | ir.SymbolicDim, b: int | ir.SymbolicDim) -> bool:
    return a == b and not (isinstance(a, ir.SymbolicDim) and a.value is None)


def _mismatches(left: Dims, right: Dims) -> int:
    """Unknown pairs; more than one where two known sizes differ."""
    pairs = [pair for pair in zip(left, right, strict=True) if not _is_same(*pair)]
    known = any(isinstance(a, int) and isinstance(b, int) for a, b in pairs)
    return 2 if known else len(pairs)


def _same_rest(source: Dims, view: Dims) -> bool:
    if not all(isinstance(size, int) for size in (*source, *view)):
        return False
    return math.prod(source) == math.prod(view)  # type: ignore[arg-type]


def varying_axes(array: np.ndarray, rank: int) -> tuple[int, ...]:
    """The axes of a tensor of `rank` that a constant beside it varies along."""
    shift = rank - array.ndim
    return tuple(axis + shift for axis, size in enumerate(array.shape) if size > 1)
