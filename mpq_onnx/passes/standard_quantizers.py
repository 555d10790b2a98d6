"""Quantizers of onnxruntime's own domain become ONNX's, which mean the same and have 16 and 4 bits from opset 21 on."""

import onnx_ir as ir

from mpq_onnx.graph.contributed import DOMAIN
from mpq_onnx.graph.fingerprint import all_nodes
from mpq_onnx.graph.quantizers import is_linear


def has_contributed_quantizers(model: ir.Model) -> bool:
    """In functions too."""
    return any(_is_contributed(node) for node in all_nodes(model))


def with_standard_quantizers(model: ir.Model) -> ir.Model:
    """`model`, changed in place, or what its conversion to the canonical opset made of it; functions stay as they are.

    Raises:
        ModelError: the opset cannot be converted.
    """
    contributed = [node for node in model.graph.all_nodes() if _is_contributed(node)]
    for node in contributed:
        node.domain = ""
    if not contributed:
        return model
    from mpq_onnx.passes.convert_opset import (
        CANONICAL_OPSET,
        convert_opset,
    )  # late: onnxscript takes a second to load

    is_old = model.graph.opset_imports.get("", 0) < CANONICAL_OPSET
    return convert_opset(model) if is_old else model


def _is_contributed(node: ir.Node) -> bool:
    return is_linear(node) and node.domain == DOMAIN
