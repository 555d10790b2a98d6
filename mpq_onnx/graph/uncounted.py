"""Multiply-accumulates that nothing reaches: in branches, loops and functions, and of other operator sets."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.operators import OWN_DOMAINS, is_multiplier, is_standard
from mpq_onnx.graph.quantized_already import is_integer_operator

CONTRIBUTED = frozenset(
    {
        "Attention", "DecoderMaskedMultiHeadAttention", "FusedConv", "FusedGemm", "FusedMatMul", "GroupQueryAttention",
        "MatMulBnb4", "MatMulFpQ4", "MatMulNBits", "MoE", "MultiHeadAttention", "NhwcFusedConv", "PackedAttention",
        "QAttention", "QMoE", "SparseAttention", "TransposeMatMul",
    }
)  # fmt: skip
"""Operators of com.microsoft that multiply."""
MULTIPLYING = ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "MoE")
"""Parts of the names of those operators on integers that do."""
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


def _of_graph(model: ir.Model) -> Iterator[UncountedMac]:
    for node in model.graph.all_nodes():
        inside = node.graph is not model.graph
        multiplies = is_multiplier(node)
        if inside and multiplies:
            yield UncountedMac(str(node.name), node.op_type, "in a branch or loop")
        elif is_integer_operator(node) and any(part in node.op_type for part in MULTIPLYING):
            yield UncountedMac(str(node.name), node.op_type, "an operator on integers")
        elif node.domain == "com.microsoft" and node.op_type in CONTRIBUTED:
            yield UncountedMac(str(node.name), node.op_type, "an operator of com.microsoft")
        elif is_standard(node) and (
            node.op_type in OTHER_STANDARD or (node.op_type == "Einsum" and len(node.inputs) > 2)
        ):
            yield UncountedMac(str(node.name), node.op_type, NO_PRODUCT)


def _of_functions(model: ir.Model) -> Iterator[UncountedMac]:
    for function in model.functions.values():
        if function.domain.startswith(OWN_DOMAINS):
            continue
        for node in function:
            if is_multiplier(node):
                yield UncountedMac(
                    str(node.name or node.op_type), node.op_type, f"in function {function.name}"
                )
