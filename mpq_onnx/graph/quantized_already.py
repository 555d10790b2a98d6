"""Is a file quantized already, whoever did it: by QuantizeLinear and DequantizeLinear, or in operators on integers."""

from collections.abc import Iterator

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.metadata import METADATA_ALLOCATION
from mpq_onnx.graph.operators import OWN_DOMAINS

QDQ_OPS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
INTEGER_OPS = (
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "MatMulNBits", "QGemm",
    "DynamicQuantizeMatMul", "MatMulBnb4", "MatMulFpQ4", "MatMulInteger16", "MatMulIntegerToFloat", "DynamicQuantizeLSTM",
    "GatherBlockQuantized", "QAttention", "QEmbedLayerNormalization", "QMoE", "ConvTransposeInteger",
)  # fmt: skip
"""Operators that hold integers themselves: another format than QDQ."""
INTEGER_FAMILIES = ("QLinear", "QOrdered")
"""First letters of onnxruntime's other operators of that kind: QLinearAdd, QOrderedMatMul, ..."""


def is_integer_operator(node: ir.Node) -> bool:
    """True for an operator that holds integers itself."""
    return node.op_type in INTEGER_OPS or node.op_type.startswith(INTEGER_FAMILIES)


def check_not_quantized(model: ir.Model, where: str) -> None:
    """Raise ModelError, which says what quantizes and what can be done with the file, unless it is a float one."""
    if METADATA_ALLOCATION in model.metadata_props:
        found = "by mpq-onnx"
    else:
        nodes = list(_quantizing(model))
        if not nodes:
            return
        kinds = ", ".join(dict.fromkeys(node.op_type for node in nodes))
        found = f"{kinds}, from node {nodes[0].name} on"
    raise ModelError(
        f"{where}: is quantized already ({found}); give the float model that it was made from. evaluate, compare, card and"
        " handoff take it as it is, and allocate --noise where it has QuantizeLinear and DequantizeLinear"
    )


def check_no_integer_operators(model: ir.Model, where: str) -> None:
    """Raise ModelError for a file whose products are computed in operators that noise cannot be added to."""
    node = next((node for node in _quantizing(model) if is_integer_operator(node)), None)
    if node is not None:
        raise ModelError(
            f"{where}: is quantized already, and {node.op_type} (node {node.name}) holds integers itself, where no noise can be"
            " added; give the float model, or one with QuantizeLinear and DequantizeLinear"
        )


def _quantizing(model: ir.Model) -> Iterator[ir.Node]:
    functions = [each for each in model.functions.values() if not each.domain.startswith(OWN_DOMAINS)]
    parts: list[ir.Graph | ir.Function] = [model.graph, *functions]
    for part in parts:
        for node in part.all_nodes():
            if node.op_type in QDQ_OPS or is_integer_operator(node):
                yield node
