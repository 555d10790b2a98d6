"""Operators of newer operator sets that the canonical one lacks become functions of ours (see ops/composites.py)."""

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.ops.composites import COMPOSITES, DOMAIN, VERSION


class HoldCompositesPass(ir.passes.InPlacePass):
    """RMSNormalization (opset 23) and Swish (opset 24) change their domain; converters of operator sets pass them by."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [
            node
            for node in model.graph.all_nodes()
            if node.op_type in COMPOSITES and is_standard(node) and _counts_axes_from_the_end(node)
        ]
        for node in nodes:
            node.domain = DOMAIN
            node.attributes.pop("stash_type", None)
        if nodes:
            model.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(nodes))


def _counts_axes_from_the_end(node: ir.Node) -> bool:
    """Make `axis` negative, as our function has it; false where the rank is not known."""
    axis = node.attributes.get_int("axis", -1)
    if axis is None or axis < 0:
        return True
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if shape is None:
        return False
    node.attributes["axis"] = ir.AttrInt64("axis", axis - len(shape))
    return True
