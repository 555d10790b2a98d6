"""Attention of heads: scores, masks, softmax, mixed values."""

import math
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.passes.contributed.builder import ContributedBuilder
from mpq_onnx.passes.contributed.key_masks import KeyMask


@dataclass(frozen=True)
class Operands:
    """What attention is computed of, each [batch, heads, tokens, size]."""

    query: ir.Value
    key: ir.Value
    value: ir.Value
    size: int
    """Of a head's queries and keys."""
    width: int
    """Of all heads' values together."""


def attended(
    builder: ContributedBuilder, operands: Operands, mask: KeyMask, added: ir.Value | None
) -> ir.Value:
    """The values mixed by the softmax of the scores, [batch, tokens, width].

    Args:
        added: to the scores, as a bias of positions is.
    """
    # As everywhere in these operators, a scale of 0 is one that is not given.
    scale = builder.node.attributes.get_float("scale", 0.0) or 1 / math.sqrt(operands.size)
    turned = builder.op("Transpose", operands.key, perm=[0, 1, 3, 2])
    scores = builder.scaled(builder.named("scores", "MatMul", operands.query, turned), scale)
    scores = builder.plus(scores, mask.laid_over_scores(builder), added)
    weights = builder.of_today("Softmax", scores, axis=-1)
    mixed = builder.op(
        "Transpose", builder.named("mixed", "MatMul", weights, operands.value), perm=[0, 2, 1, 3]
    )
    return builder.reshape(mixed, 0, 0, operands.width)
