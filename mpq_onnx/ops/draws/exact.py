"""A normal of its own for every element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from mpq_onnx.ops.draws.drawing import NORMALS, NoiseDraws, seed_of

if TYPE_CHECKING:
    from onnxscript import OpBuilder


def draw(op: OpBuilder, like: ir.Value, of: str) -> ir.Value:
    """onnxruntime draws about a hundred million a second, on one thread."""
    return op.RandomNormalLike(like, seed=seed_of(of + NORMALS))


EXACT = NoiseDraws(prefix="", seeds=(NORMALS,), draw=draw)
