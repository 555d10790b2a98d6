"""Normalizations, of sums and of looked-up rows too: LayerNormalization, and the one by the root mean square."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.contributed.builder import ContributedBuilder, Rewriter

EPSILON = 1e-5
"""Where the node does not say; of sums and looked-up rows it is another."""
EPSILON_OF_SUMS = 1e-12


def layer_normalization(builder: ContributedBuilder) -> tuple[ir.Value]:
    """ONNX's own operator, in a model of an opset that does not have it."""
    operands = (builder.input(0), builder.input(1), builder.optional(2))
    return (_centred(builder, *operands, EPSILON, builder.node.attributes.get_int("axis", -1)),)


def simplified_layer_normalization(builder: ContributedBuilder) -> tuple[ir.Value]:
    """By the root mean square."""
    axis = builder.node.attributes.get_int("axis", -1)
    x = builder.input(0)
    return (_uncentred(builder, x, builder.input(1), EPSILON, axis if axis < 0 else axis - builder.rank(x)),)


def skip_layer_normalization(builder: ContributedBuilder) -> tuple[ir.Value | None, ...]:
    """LayerNormalization of input, bias and skip added up, and that sum."""
    summed = builder.plus(builder.input(0), builder.optional(4), builder.input(1))
    gamma, beta = builder.input(2), builder.optional(3)
    return _centred(builder, summed, gamma, beta, EPSILON_OF_SUMS, -1), None, None, summed


def skip_simplified_layer_normalization(builder: ContributedBuilder) -> tuple[ir.Value | None, ...]:
    """By the root mean square, of input, bias and skip added up, and that sum."""
    summed = builder.plus(builder.input(0), builder.optional(3), builder.input(1))
    return _uncentred(builder, summed, builder.input(2), EPSILON_OF_SUMS, -1), None, None, summed


def embed_layer_normalization(builder: ContributedBuilder) -> tuple[ir.Value | None, ...]:
    """LayerNormalization of rows of words, positions and segments added up; how many tokens the mask leaves; the sum."""
    tokens, segments, positions = builder.input(0), builder.optional(1), builder.optional(8)
    if positions is None:
        positions = builder.places(tokens, 1)
    summed = builder.op("Gather", builder.input(2), tokens, axis=0)
    summed = builder.plus(summed, builder.op("Gather", builder.input(3), positions, axis=0))
    if segments is not None:
        summed = builder.plus(summed, builder.op("Gather", builder.input(4), segments, axis=0))
    normalized = _centred(builder, summed, builder.input(5), builder.input(6), EPSILON_OF_SUMS, -1)
    mask = builder.optional(7)
    return normalized, None if mask is None else _left(builder, mask), summed


def _left(builder: ContributedBuilder, mask: ir.Value) -> ir.Value:
    """The number of ones in each row of an integer mask [batch, tokens], as int32 [batch]."""
    one = builder.constant("one", np.array(1, (mask.dtype or ir.DataType.INT32).numpy()))
    ones = builder.op("Cast", builder.op("Equal", mask, one), to=ir.DataType.INT32)
    counted = builder.of_today("ReduceSum", ones, builder.integers("axis", 1), keepdims=0)
    counted.dtype, counted.shape = ir.DataType.INT32, ir.Shape([None])
    return counted


def _centred(
    builder: ContributedBuilder,
    x: ir.Value,
    gamma: ir.Value,
    beta: ir.Value | None,
    default: float,
    axis: int,
) -> ir.Value:
    epsilon = builder.node.attributes.get_float("epsilon", default)
    operands = (x, gamma) if beta is None else (x, gamma, beta)
    return builder.of_today("LayerNormalization", *operands, axis=axis, epsilon=epsilon)


def _uncentred(
    builder: ContributedBuilder, x: ir.Value, gamma: ir.Value, default: float, axis: int
) -> ir.Value:
    epsilon = builder.node.attributes.get_float("epsilon", default)
    return builder.composite("RMSNormalization", x, gamma, axis=axis, epsilon=epsilon)


OPS: dict[str, Rewriter] = {
    "SkipLayerNormalization": skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": skip_simplified_layer_normalization,
    "EmbedLayerNormalization": embed_layer_normalization,
}
AMONG_STANDARD: dict[str, Rewriter] = {
    "LayerNormalization": layer_normalization,
    "SimplifiedLayerNormalization": simplified_layer_normalization,
}
"""Operators that onnxruntime puts into ONNX's own domain."""
