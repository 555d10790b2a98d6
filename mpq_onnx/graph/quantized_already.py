"""Is a file quantized already, whoever did it: by QuantizeLinear and DequantizeLinear, in operators on integers, in QONNX's."""

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

FAKE_QUANT_OPS = ("Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc")
"""Of QONNX and what exports it: real values in, real values of the levels out."""
FAKE_QUANT_DOMAINS = ("qonnx.", "onnx.brevitas", "finn.")
"""First letters of theirs."""


def is_fake_quantizer(node: ir.Node) -> bool:
    """True for a quantizer of QONNX, which nothing here reads."""
    return node.op_type in FAKE_QUANT_OPS and node.domain.startswith(FAKE_QUANT_DOMAINS)


def check_no_fake_quantizers(model: ir.Model, where: str) -> None:
    """Raise ModelError for a file whose quantizers would be passed over, and whose layers would be called float."""
    node = next((node for node in model.graph.all_nodes() if is_fake_quantizer(node)), None)
    if node is not None:
        raise ModelError(
            f"{where}: its quantizers are of QONNX ({node.op_type}, node {node.name}), which are not read: give the file that"
            " they were made from, or one with QuantizeLinear and DequantizeLinear (QONNX makes QCDQ of it)"
        )


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
            if node.op_type in QDQ_OPS or is_integer_operator(node) or is_fake_quantizer(node):
                yield node
