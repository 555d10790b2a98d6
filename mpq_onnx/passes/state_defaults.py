"""Attributes that a file leaves to their default, where ONNX's shape inference takes another default than its operators do."""

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard

MISTAKEN = {"STFT": ir.AttrInt64("onesided", 1)}
"""By operator: inference takes the output of an STFT without it for two-sided."""


class StateDefaultsPass(ir.passes.InPlacePass):
    """Write them out."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [
            node
            for node in model.graph.all_nodes()
            if is_standard(node)
            and node.op_type in MISTAKEN
            and MISTAKEN[node.op_type].name not in node.attributes
        ]
        for node in nodes:
            node.attributes.add(MISTAKEN[node.op_type])
        return ir.passes.PassResult(model, modified=bool(nodes))
