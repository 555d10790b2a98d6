"""RotaryEmbedding: pairs of places turned by an angle that grows with the token's position (arXiv 2104.09864)."""

from collections.abc import Sequence

import onnx_ir as ir

from mpq_onnx.passes.contributed.builder import BEFORE, ContributedBuilder, Rewriter

SIDE_BY_SIDE = 3
"""Axes of an input whose heads stand next to each other: [batch, tokens, heads * size], else [batch, heads, tokens, size]."""


def rotary_embedding(builder: ContributedBuilder) -> tuple[ir.Value]:
    """The first places of each head turned, all of them unless the node says how many."""
    attributes, x = builder.node.attributes, builder.input(0)
    if attributes.get_int("is_packed_batching", 0):
        raise builder.refusal(f"examples packed behind each other have no standard form here; {BEFORE}")
    side_by_side = builder.rank(x) == SIDE_BY_SIDE
    turned = 2 * builder.size(builder.input(2), 1)
    heads = attributes.get_int("num_heads", 0)
    partial = attributes.get_int("rotary_embedding_dim", 0) > 0
    size = turned if not partial else builder.size(x, -1) // (heads if side_by_side else 1)
    by_head = builder.reshape(x, 0, 0, -1, size) if side_by_side else x
    cosine, sine = (_along_tokens(builder, index, side_by_side) for index in (2, 3))
    head = by_head if turned == size else builder.part(by_head, 3, 0, turned)
    interleaved = bool(attributes.get_int("interleaved", 0))
    first, second = (builder.part(head, 3, *each) for each in _halves(turned, interleaved))
    real = builder.op("Sub", builder.op("Mul", first, cosine), builder.op("Mul", second, sine))
    imaginary = builder.op("Add", builder.op("Mul", first, sine), builder.op("Mul", second, cosine))
    result = (
        _woven(builder, real, imaginary, turned)
        if interleaved
        else builder.op("Concat", real, imaginary, axis=3)
    )
    if turned != size:
        result = builder.op("Concat", result, builder.part(by_head, 3, turned, size), axis=3)
    return (builder.reshape(result, 0, 0, -1) if side_by_side else result,)


def _halves(length: int, interleaved: bool) -> Sequence[tuple[int, int, int]]:
    """Where the two places of every pair stand: (start, stop, step) of the first ones and of the second ones."""
    return (
        ((0, length, 2), (1, length, 2)) if interleaved else ((0, length // 2, 1), (length // 2, length, 1))
    )


def _woven(builder: ContributedBuilder, real: ir.Value, imaginary: ir.Value, length: int) -> ir.Value:
    """Both in turns along the last of four axes."""
    columns = [builder.reshape(each, 0, 0, 0, -1, 1) for each in (real, imaginary)]
    return builder.reshape(builder.op("Concat", *columns, axis=4), 0, 0, 0, length)


def _along_tokens(builder: ContributedBuilder, index: int, side_by_side: bool) -> ir.Value:
    """A table's rows at the tokens' positions, beside the heads: [batch, tokens, 1, half] or [batch, 1, tokens, half]."""
    positions, x = builder.input(1), builder.input(0)
    if builder.rank(positions) == 2:
        rows = builder.op("Gather", builder.input(index), positions, axis=0)
        return (
            builder.reshape(rows, 0, 0, 1, -1)
            if side_by_side
            else builder.reshape(rows, 0, 1, -1, builder.size(builder.input(index), 1))
        )
    places = builder.op(
        "Add", builder.places(x, 1 if side_by_side else 2), positions
    )  # the first one's position
    rows = builder.op("Gather", builder.input(index), places, axis=0)
    return builder.reshape(rows, 0, 1, -1) if side_by_side else rows


OPS: dict[str, Rewriter] = {"RotaryEmbedding": rotary_embedding}
