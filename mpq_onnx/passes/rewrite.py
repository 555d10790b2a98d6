"""onnxscript's rewriter, with every constant that its rules make kept.

It registers constants by the names that rules give them ("x/shape" for any Flatten of x, a convolution's weight under its old
name once a BatchNormalization is in it), and one loses its place in the graph to the next of the same name.
"""

from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import rewriter
from onnxscript.rewriter.pattern import RewriteRule

from mpq_onnx.graph.fresh_names import fresh_name


class RewritePass(ir.passes.InPlacePass):
    """Rewrite by rules, and take away what nobody reads any more."""

    def __init__(self, rules: Sequence[RewriteRule]) -> None:
        self._rewrite = rewriter.RewritePass(rules)
        self._tidy = ir.passes.Sequential(
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedFunctionsPass(),
            common.RemoveUnusedOpsetsPass(),
        )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = bool(self._rewrite(model).modified)
        _keep_constants(model.graph)
        return ir.passes.PassResult(model, modified=bool(self._tidy(model).modified) or modified)


def _keep_constants(graph: ir.Graph) -> None:
    read = dict.fromkeys(value for node in graph.all_nodes() for value in node.inputs if value is not None)
    for value in read:
        if value.const_value is None or value.producer() is not None or value.graph is not None:
            continue
        value.name = fresh_name(graph, str(value.name))
        graph.register_initializer(value)
