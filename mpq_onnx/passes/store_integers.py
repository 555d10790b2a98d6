"""Put plain integers where a graph computes them from a packed form, so that every stored weight is an initializer."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from mpq_onnx.graph.fresh_names import take_name
from mpq_onnx.graph.model_file import add_initializer


class StoreIntegersPass(ir.passes.InPlacePass):
    """Replace the tensors `values` (by name) by initializers; what computed them goes away."""

    def __init__(self, values: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.values = values

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if not self.values:
            return ir.passes.PassResult(model, modified=False)
        computed = {str(value.name): value for node in model.graph for value in node.outputs}
        for name, array in self.values.items():
            old = computed[name]
            new = add_initializer(model.graph, f"{name}_stored", array)
            take_name(model.graph, new, old, f"{name}_computed")
            ir.convenience.replace_all_uses_with(old, new)
        remove_unused(model)
        return ir.passes.PassResult(model, modified=True)


def remove_unused(model: ir.Model) -> None:
    """Take out nodes, initializers, functions and operator sets that nobody needs any more."""
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
