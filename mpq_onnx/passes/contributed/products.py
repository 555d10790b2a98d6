"""Products with what stands around them: FusedMatMul, TransposeMatMul, FusedGemm, FusedConv."""

import onnx_ir as ir

from mpq_onnx.passes.contributed.activations import applied
from mpq_onnx.passes.contributed.builder import ContributedBuilder, Rewriter

ACTIVATION = "activation"
"""First letters of the attributes that say what a fused product applies."""


def fused_matmul(builder: ContributedBuilder) -> tuple[ir.Value]:
    """alpha times the product of two stacks of matrices, each of which may be turned first."""
    operands = [_turned(builder, index, side) for index, side in enumerate("AB")]
    product = builder.same_layer("MatMul", *operands)
    return (builder.scaled(product, builder.node.attributes.get_float("alpha", 1.0)),)


def _turned(builder: ContributedBuilder, index: int, side: str) -> ir.Value:
    """Rows to the front of the stack where they stand in front of it, then rows and columns exchanged; a vector stays."""
    value, attributes = builder.input(index), builder.node.attributes
    stacked = attributes.get_int(f"transBatch{side}", 0)
    exchanged = attributes.get_int(f"trans{side}", 0)
    if not stacked and not exchanged:
        return value
    rank = builder.rank(value)
    if rank < 2:
        return value
    order = list(range(rank))
    if stacked:
        order = [*order[1:-1], order[0], order[-1]]
    if exchanged:
        order[-2:] = order[:-3:-1]
    return builder.op("Transpose", value, perm=order)


def fused_gemm(builder: ContributedBuilder) -> tuple[ir.Value]:
    """Gemm, then an activation."""
    attributes = builder.node.attributes
    product = builder.same_layer("Gemm", *builder.node.inputs, **_of_product(builder.node))
    given = {
        name: attributes.get_float(f"{ACTIVATION}_{name}", 0.0)
        for name in ("alpha", "beta", "gamma")
        if f"{ACTIVATION}_{name}" in attributes
    }
    return (applied(builder, product, attributes.get_string(ACTIVATION, ""), given),)


def fused_convolution(builder: ContributedBuilder) -> tuple[ir.Value]:
    """Conv, plus a tensor of its shape, then an activation."""
    attributes = builder.node.attributes
    product = builder.same_layer("Conv", *builder.node.inputs[:3], **_of_product(builder.node))
    summed = builder.plus(product, builder.optional(3))
    parameters = attributes.get_floats(f"{ACTIVATION}_params", [])
    return (applied(builder, summed, attributes.get_string(ACTIVATION, ""), parameters),)


def _of_product(node: ir.Node) -> dict[str, object]:
    """The attributes that the standard operator has too."""
    return {name: each.value for name, each in node.attributes.items() if not name.startswith(ACTIVATION)}


OPS: dict[str, Rewriter] = {
    "FusedMatMul": fused_matmul,
    "TransposeMatMul": fused_matmul,
    "FusedGemm": fused_gemm,
    "FusedConv": fused_convolution,
}
