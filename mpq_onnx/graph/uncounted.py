"""Multiply-accumulates that nothing reaches: in branches, loops and functions, and of other operator sets."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.contributed import DOMAIN, OF_ONE_PROCESSOR
from mpq_onnx.graph.mirrored import is_mirrored
from mpq_onnx.graph.operators import OWN_DOMAINS, factors, is_float, is_multiplier, is_standard, rank_of
from mpq_onnx.graph.quantized_already import is_integer_operator

CONTRIBUTED = frozenset(
    {
        "Attention", "DecoderAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention", "FusedConv",
        "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "GemmFastGelu", "GemmFloat8", "GroupQueryAttention",
        "LongformerAttention", "MatMulBnb4", "MatMulFpQ4", "MatMulNBits", "MoE", "MultiHeadAttention", "NhwcConv",
        "NhwcFusedConv", "PackedAttention", "PackedMultiHeadAttention", "PagedAttention", "QAttention", "QMoE",
        "SparseAttention", "TransposeMatMul",
    }
)  # fmt: skip
"""Operators of com.microsoft that multiply; some of them the canonical form writes out (passes/contributed)."""
MULTIPLYING = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "MoE")
"""Parts of the names of those operators on integers that do."""
LINEAR = frozenset({"LinearClassifier", "LinearRegressor"})
"""Operators of ai.onnx.ml that multiply, and that canonical form has as Gemm."""
DEFORMABLE = "DeformConv"
OTHER_STANDARD = {
    DEFORMABLE: "its kernel moves with computed offsets",
    "Attention": "several products in one operator",
}
"""Operators of ONNX itself, and why their products are none of two operands."""
WEIGHT_AXES = 2
"""At least; what has fewer is a bias."""


@dataclass(frozen=True)
class UncountedMac:
    """One node that multiplies out of reach."""

    node: str
    op_type: str
    reason: str
    float_weights: int = 0
    """Elements of the constants that it multiplies by, as far as they are stored as floats."""
    macs: int | None = None
    """Of as many examples as the shapes given are of; None where they do not tell, or where it is not known how to count."""
    is_mirrored: bool = False
    """The mirror computes it: only it has no width, no noise and no row."""

    def __str__(self) -> str:
        macs = "" if self.macs is None else f", {self.macs:,} MACs"
        return f"{self.node} ({self.op_type}, {self.reason}{macs})"


def uncounted_macs(
    model: ir.Model, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[UncountedMac, ...]:
    """All of them, in graph order, those of functions last.

    Args:
        shapes: by tensor name, to count MACs by; without them none are.
    """
    return tuple(_of_graph(model, shapes or {})) + tuple(_of_functions(model))


def multiplies(node: ir.Node) -> bool:
    """Whether a node multiplies and accumulates, in reach or not, or holds one that does in a branch or loop."""
    inner = (each for graph in bodies(node) for each in graph.all_nodes())
    return any(is_multiplier(each) or _why_apart(each) is not None for each in (node, *inner))


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The branches and loop bodies that a node holds itself."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _of_graph(model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[UncountedMac]:
    for node in model.graph.all_nodes():
        reason = _why_apart(node)
        is_inside = node.graph is not model.graph
        if is_inside and is_multiplier(node):
            reason = "in a branch or loop"
        if reason is not None:
            yield UncountedMac(
                str(node.name),
                node.op_type,
                reason,
                _float_weights(node),
                _macs(node, shapes),
                is_mirrored(node) and not is_inside,
            )


def _float_weights(node: ir.Node) -> int:
    """Elements of the floating-point constants that a node multiplies by; scales of what holds integers are none."""
    if is_integer_operator(node):
        return 0
    stored = (value.const_value for value in _multiplied(node) if is_float(value))
    return sum(tensor.size for tensor in stored if tensor is not None)


def _multiplied(node: ir.Node) -> Iterable[ir.Value]:
    """What a node multiplies; of operators that nobody here knows, constants of several axes: those of one are biases."""
    if is_multiplier(node):
        return factors(node)
    operands = node.inputs[:2] if node.op_type == DEFORMABLE else node.inputs
    return (value for value in operands if value is not None and (rank_of(value) or 0) >= WEIGHT_AXES)


def _macs(node: ir.Node, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Of a DeformConv: each output is a sum over the kernel of its group, as that of a Conv."""
    weight, made = node.inputs[1] if len(node.inputs) > 1 else None, shapes.get(str(node.outputs[0].name))
    if node.op_type != DEFORMABLE or not is_standard(node) or weight is None or made is None:
        return None
    stored = weight.const_value
    kernel = tuple(stored.shape.numpy()) if stored is not None else shapes.get(str(weight.name))
    return None if kernel is None else math.prod(made) * math.prod(kernel[1:])


def _why_apart(node: ir.Node) -> str | None:
    """Why a node that multiplies is none of is_multiplier's; None where it is, or does not multiply."""
    if is_integer_operator(node) and any(part in node.op_type for part in MULTIPLYING):
        return "an operator on integers"
    if node.domain == DOMAIN and node.op_type in CONTRIBUTED:
        return f"an operator of {DOMAIN}"
    if node.domain == OF_ONE_PROCESSOR and node.op_type == "Conv":
        return f"an operator of {OF_ONE_PROCESSOR}"
    if node.domain == "ai.onnx.ml" and node.op_type in LINEAR:
        return "an operator of ai.onnx.ml"
    if is_standard(node) and node.op_type == "Einsum" and len(node.inputs) > 2:
        return f"a product of {len(node.inputs)} operands"
    return OTHER_STANDARD.get(node.op_type) if is_standard(node) else None


def _of_functions(model: ir.Model) -> Iterator[UncountedMac]:
    for function in model.functions.values():
        if function.domain.startswith(OWN_DOMAINS):
            continue
        for node in function:
            if is_multiplier(node):
                yield UncountedMac(
                    str(node.name or node.op_type), node.op_type, f"in function {function.name}"
                )
