"""Attention masks: numbers so low that a softmax, or a maximum, never sees the entries that they are added to or stand in for.

A mask is told by its numbers, never by its name: infinities and the like anywhere; the milder -10000 or -100 only where a
softmax or a maximum follows, and as a constant only where it leaves other entries alone. A bias of positions is none of these.
"""

import enum

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.operators import REDUCING, is_pass_through, pad_fill

NEVER = 1e8
"""Magnitude that no signal has: -1e9, the lowest float, infinity."""
LOW = 50.0
"""Magnitude of the mildest masks (Swin's windows have -100): exp(-50) is far below what float32 holds beside 1."""
NEAR = 20.0
"""Below it lie the entries that a mask leaves alone, with whatever bias is folded into it."""
VERY_LOW = 1e3

SOFT_ENDS = frozenset({"Softmax", "LogSoftmax", "ReduceLogSumExp"})
ENDS = SOFT_ENDS | {"ReduceMax", "ArgMax", "TopK"}
"""Ops that pick or weigh by size."""

LAYING: dict[str, tuple[int, ...]] = {
    "Add": (0, 1), "Sub": (1,), "Where": (1, 2), "Min": (0, 1), "ScatterND": (2,), "ScatterElements": (2,), "Pad": (2,),
}  # fmt: skip
"""Operands through which a mask is laid over scores."""
CARRYING: dict[str, tuple[int, ...]] = {
    "Add": (0, 1), "Sub": (0,), "Mul": (0, 1), "Div": (0,), "Where": (1, 2), "Min": (0, 1), "Max": (0, 1),
    "Clip": (0,), "LogSoftmax": (0,), "ScatterND": (0, 2), "ScatterElements": (0, 2),
}  # fmt: skip
"""Operands whose masked entries are masked in the result, beside those of pass-through ops."""


class Strength(enum.IntEnum):
    """How surely numbers are a mask."""

    NONE = 0
    BEFORE_SOFTMAX = 1
    """Where a softmax or a maximum follows."""
    ANYWHERE = 2


def array_strength(array: np.ndarray, sign: float) -> Strength:
    """Of a constant that is added (sign -1 where it is subtracted): some entries very low, others left alone."""
    if array.dtype.kind != "f" or not array.size:
        return Strength.NONE
    numbers = array.astype(np.float64).reshape(-1) * sign
    if not np.isfinite(numbers).all() or np.abs(numbers).max() >= NEVER:
        return Strength.ANYWHERE
    near = np.abs(numbers) < NEAR
    low = numbers <= -LOW
    apart = bool((near | low).all()) or numbers.min() <= -VERY_LOW
    return Strength.BEFORE_SOFTMAX if near.any() and low.any() and apart else Strength.NONE


def magnitude_strength(magnitude: float) -> Strength:
    """Of numbers that are put in place of scores, or computed with constants up to `magnitude`."""
    if magnitude >= NEVER:
        return Strength.ANYWHERE
    return Strength.BEFORE_SOFTMAX if magnitude >= LOW else Strength.NONE


def largest(array: np.ndarray) -> float:
    """The largest magnitude of a constant; infinite for NaN."""
    if array.dtype.kind not in "fiu" or not array.size:
        return 0.0
    found = float(np.abs(array.astype(np.float64)).max())
    return np.inf if np.isnan(found) else found


def carries_mask(node: ir.Node, index: int) -> bool:
    """True where entries of operand `index` that are masked stay so in the result."""
    if is_pass_through(node):
        return index == 0 and node.op_type not in REDUCING
    if node.op_type == "Concat":
        return True
    if node.op_type in ("Clip", "Max"):
        return index in CARRYING[node.op_type] and _lower_limit(node, index) <= -VERY_LOW
    return index in CARRYING.get(node.op_type, ())


def _lower_limit(node: ir.Node, index: int) -> float:
    """The constant below which nothing passes a Clip or a Max; minus infinity where there is none."""
    limits = node.inputs[1:2] if node.op_type == "Clip" else [*node.inputs[:index], *node.inputs[index + 1 :]]
    constants = [
        value.const_value.numpy() for value in limits if value is not None and value.const_value is not None
    ]
    return max((float(array.max()) for array in constants if array.size), default=-np.inf)


def is_masking_pad(node: ir.Node) -> bool:
    """A Pad with numbers that a maximum never picks."""
    fill = pad_fill(node) if node.op_type == "Pad" else 0.0
    return fill is not None and magnitude_strength(abs(fill)) is Strength.ANYWHERE
