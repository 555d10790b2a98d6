"""Attention, MultiHeadAttention and RotaryEmbedding; GroupQueryAttention is refused."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.contributed.builder import BEFORE, ContributedBuilder, Rewriter
from mpq_onnx.passes.contributed.heads import Operands, attended
from mpq_onnx.passes.contributed.key_masks import KeyMask

STACKED = 3
"""Axes of a tensor whose heads stand next to each other along the last one: [batch, tokens, heads * size]."""
PARTS = ("query", "key", "value")


def attention(builder: ContributedBuilder) -> tuple[ir.Value | None, ...]:
    """Of one input [batch, tokens, width], whose query, key and value one packed weight [width, all three] makes."""
    attributes, x = builder.node.attributes, builder.input(0)
    _without(builder, {4: "past"}, 1)
    if attributes.get_int("do_rotary", 0):
        raise builder.refusal(f"its rotary embedding (do_rotary) has no standard form here; {BEFORE}")
    weight, bias = builder.input(1), builder.optional(2)
    sizes = attributes.get_ints("qkv_hidden_sizes", []) or [builder.size(weight, 1) // 3] * 3
    ends = np.cumsum([0, *sizes]).tolist()
    made = []
    for name, start, stop in zip(PARTS, ends, ends[1:], strict=False):
        product = builder.named(name, "MatMul", x, builder.part(weight, 1, start, stop))
        made.append(builder.plus(product, None if bias is None else builder.part(bias, 0, start, stop)))
    heads = attributes.get_int("num_heads")
    query, key, value = (_by_head(builder, each, heads, size) for each, size in zip(made, sizes, strict=True))
    operands = Operands(query, key, value, sizes[0] // heads, sizes[2])
    return (attended(builder, operands, KeyMask(builder.optional(3), x, x), builder.optional(5)),)


def multi_head_attention(builder: ContributedBuilder) -> tuple[ir.Value | None, ...]:
    """Of query, key and value that were made elsewhere, but for their biases; keys and values may have their heads apart."""
    _without(builder, {6: "past_key", 7: "past_value", 9: "cache_indirection"}, 1)
    if builder.optional(1) is None or builder.optional(2) is None:
        raise builder.refusal(
            f"queries, keys and values packed in one tensor have no standard form here; {BEFORE}"
        )
    heads, given = builder.node.attributes.get_int("num_heads"), [builder.input(index) for index in range(3)]
    apart = [builder.rank(each) > STACKED for each in given]
    sizes = [
        builder.size(each, -1) * (heads if is_apart else 1)
        for each, is_apart in zip(given, apart, strict=True)
    ]
    ends = np.cumsum([0, *sizes]).tolist()
    bias = builder.optional(3)
    made: list[ir.Value] = []
    for each, start, stop, is_apart in zip(given, ends, ends[1:], apart, strict=False):
        if is_apart:  # keys and values of another network: onnxruntime leaves their biases out
            made.append(each)
            continue
        summed = builder.plus(each, None if bias is None else builder.part(bias, 0, start, stop))
        made.append(_by_head(builder, summed, heads, stop - start))
    mask = KeyMask(builder.optional(4), given[0], given[1], 2 if apart[1] else 1)
    query, key, value = made
    operands = Operands(query, key, value, sizes[0] // heads, sizes[2])
    return (attended(builder, operands, mask, builder.optional(5)),)


def group_query_attention(builder: ContributedBuilder) -> tuple[ir.Value | None, ...]:
    """Always refused: it writes into a cache of keys and values whose lengths its inputs say."""
    raise builder.refusal(
        f"its cache of keys and values has no standard form here; {BEFORE}, exported without a cache"
    )


def _without(builder: ContributedBuilder, inputs: dict[int, str], outputs: int) -> None:
    """Refuse a node that takes the keys and values of earlier tokens, or hands its own on."""
    given = [name for index, name in inputs.items() if builder.optional(index) is not None]
    read = [value for value in builder.node.outputs[outputs:] if value.uses() or value.is_graph_output()]
    if given or read:
        named = ", ".join([*given, *(str(value.name) for value in read)])
        raise builder.refusal(
            f"keys and values of earlier tokens ({named}) have no standard form here; {BEFORE}, exported without a cache"
        )


def _by_head(builder: ContributedBuilder, value: ir.Value, heads: int, width: int) -> ir.Value:
    """[batch, tokens, heads * size] as [batch, heads, tokens, size]."""
    if not heads or width % heads:
        raise builder.refusal(f"{width} columns are no whole number for each of its {heads} heads")
    return builder.op("Transpose", builder.reshape(value, 0, 0, heads, width // heads), perm=[0, 2, 1, 3])


OPS: dict[str, Rewriter] = {
    "Attention": attention,
    "MultiHeadAttention": multi_head_attention,
    "GroupQueryAttention": group_query_attention,
}
