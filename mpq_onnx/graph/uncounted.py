"""Multiply-accumulates that nothing reaches: in branches, loops and functions, and of other operator sets."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.contributed import DOMAIN, OF_ONE_PROCESSOR
from mpq_onnx.graph.operators import OWN_DOMAINS, is_multiplier, is_standard
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
OTHER_STANDARD = frozenset({"DeformConv", "Attention"})
NO_PRODUCT = "no product of two operands"


@dataclass(frozen=True)
class UncountedMac:
    """One node that multiplies out of reach."""

    node: str
    op_type: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node} ({self.op_type}, {self.reason})"


def uncounted_macs(model: ir.Model) -> tuple[UncountedMac, ...]:
    """All of them, in graph order, those of functions last."""
    return tuple(_of_graph(model)) + tuple(_of_functions(model))


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


def _of_graph(model: ir.Model) -> Iterator[UncountedMac]:
    for node in model.graph.all_nodes():
        reason = _why_apart(node)
        if node.graph is not model.graph and is_multiplier(node):
            reason = "in a branch or loop"
        if reason is not None:
            yield UncountedMac(str(node.name), node.op_type, reason)


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
    if is_standard(node) and (
        node.op_type in OTHER_STANDARD or (node.op_type == "Einsum" and len(node.inputs) > 2)
    ):
        return NO_PRODUCT
    return None


def _of_functions(model: ir.Model) -> Iterator[UncountedMac]:
    for function in model.functions.values():
        if function.domain.startswith(OWN_DOMAINS):
            continue
        for node in function:
            if is_multiplier(node):
                yield UncountedMac(
                    str(node.name or node.op_type), node.op_type, f"in function {function.name}"
                )
