"""Gemm's alpha and beta go into its constant weight and bias, so that later stages see a plain product and bias."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import BIAS_INPUT, mac_of
from mpq_onnx.graph.model_file import add_initializer


class FoldGemmFactorsPass(ir.passes.InPlacePass):
    """alpha into a weight that nobody else reads, beta into a constant bias."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            mac = mac_of(node) if node.op_type == "Gemm" else None
            if mac is None:
                continue
            if mac.alpha != 1.0 and mac.held.const_value is not None and len(mac.held.uses()) == 1:
                modified |= _fold(model.graph, node, mac.held_index, "alpha", mac.alpha)
            beta = node.attributes.get_float("beta", 1.0)
            if beta != 1.0 and mac.bias is not None and mac.bias.const_value is not None:
                modified |= _fold(model.graph, node, BIAS_INPUT, "beta", beta)
        return ir.passes.PassResult(model, modified=modified)


def _fold(graph: ir.Graph, node: ir.Node, index: int, attribute: str, factor: float) -> bool:
    old = node.inputs[index]
    assert old is not None and old.const_value is not None
    array = old.const_value.numpy()
    scaled = (array * np.asarray(factor, array.dtype)).astype(array.dtype)
    if len(old.uses()) == 1 and not old.is_graph_output():
        old.const_value = ir.tensor(scaled, name=old.name)
    else:
        new = add_initializer(graph, f"{old.name}_times_{attribute}_for_{node.outputs[0].name}", scaled)
        node.replace_input_with(index, new)
    node.attributes.pop(attribute)
    return True
