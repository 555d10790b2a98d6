"""A bank of normals, drawn anew in every run and read at random rows, each as it stands or negated.

Reading is an order of magnitude cheaper than drawing. What it changes is measured in docs/ops/README.md: elements stay normal
and uncorrelated, as the signs of their rows are independent; their squares are correlated where rows meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from mpq_onnx.ops.draws.drawing import NORMALS, NoiseDraws, seed_of
from mpq_onnx.ops.geometry import integers, real

if TYPE_CHECKING:
    from onnxscript import OpBuilder

BANK = 2**15
"""Normals: a quarter of a millisecond of drawing; a tensor of no more elements has a normal of its own for each."""
LONGEST_ROW = 64
"""Elements: short rows make many, which seldom meet; copying them costs little from here on."""
ROWS = "row_seed"


def draw(op: OpBuilder, like: ir.Value, of: str) -> ir.Value:
    """Rows of the longest length that fills `like` without a rest, which would take a copy to cut off."""
    shape = op.Shape(like)
    count = op.ReduceProd(shape)
    lengths = integers(op, *range(1, LONGEST_ROW + 1))
    fits = op.Equal(op.Mod(count, lengths), integers(op, 0))
    length = op.ReduceMax(op.Where(fits, lengths, integers(op, 1)))
    rows = op.Div(count, length)
    held = op.Min(rows, op.Div(integers(op, BANK), length))
    zeros = op.Expand(real(op, 0), op.Concat(held, length, axis=0))
    bank = op.RandomNormalLike(zeros, seed=seed_of(of + NORMALS))
    read = op.Gather(op.Concat(bank, op.Neg(bank), axis=0), _rows(op, rows, held, of), axis=0)
    return op.Reshape(read, shape, allowzero=1)


def _rows(op: OpBuilder, rows: ir.Value, held: ir.Value, of: str) -> ir.Value:
    """Which row of the bank, negated ones behind, is read where: int64 [rows]; all in order where there are enough."""
    both = op.Mul(held, integers(op, 2))
    uniform = op.RandomUniformLike(op.Expand(real(op, 0), rows), seed=seed_of(of + ROWS))
    scaled = op.Cast(op.Mul(uniform, op.Cast(both, to=ir.DataType.FLOAT)), to=ir.DataType.INT64)
    at_random = op.Min(scaled, op.Sub(both, integers(op, 1)))
    in_order = op.Sub(op.CumSum(op.Expand(integers(op, 1), rows), integers(op, 0)), integers(op, 1))
    return op.Where(op.Less(held, rows), at_random, in_order)


BANK_DRAWS = NoiseDraws(prefix="Bank", seeds=(NORMALS, ROWS), draw=draw)
