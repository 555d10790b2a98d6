"""Operators that onnxruntime's optimizers and model builders write, in ONNX's own.

One family a file; a new operator is one function and one line in its family's OPS. onnxruntime, which runs the source, is the
judge. What is not listed (operators on integers, operators that no optimizer writes) stays as it is.
"""

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.contributed import DOMAIN, OF_ONE_PROCESSOR, is_among_standard
from mpq_onnx.ops.composites import DOMAIN as COMPOSITE
from mpq_onnx.ops.composites import VERSION
from mpq_onnx.passes.contributed import activations, attention, normalizations, products, rotary
from mpq_onnx.passes.contributed.builder import ContributedBuilder, Rewriter, UnknownRankError
from mpq_onnx.passes.convert_opset import CANONICAL_OPSET
from mpq_onnx.passes.infer_shapes import InferShapesPass
from mpq_onnx.passes.old_operators import WAITING
from mpq_onnx.passes.writing_out import write_out

REWRITERS: dict[str, Rewriter] = {
    **activations.OPS,
    **attention.OPS,
    **normalizations.OPS,
    **products.OPS,
    **rotary.OPS,
}
REFUSED = frozenset({"GroupQueryAttention"})
"""Those of them whose every form has no standard one."""


class ContributedOperatorsPass(ir.passes.InPlacePass):
    """Write out every operator that is listed, before the model's opset is converted. Shapes should have been inferred.

    Raises:
        ModelError: a form of an operator that has no standard one, or a file that is laid out for one processor.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        _check_layout(model)
        opset = model.opset_imports.get("", CANONICAL_OPSET)
        modified = False
        while found := [node for node in model.graph.all_nodes() if _rewriter(node, opset) is not None]:
            # What one of them computes has no shape before it is written out.
            _write_round(model.graph, found, opset)
            model.opset_imports.update({WAITING: 1, COMPOSITE: VERSION})
            InferShapesPass(check_type=False, strict_mode=False)(model)
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def _write_round(main: ir.Graph, nodes: list[ir.Node], opset: int) -> None:
    """Write out those whose operands' ranks are known as far as they need to be; at least one, or raise."""
    unknown: list[UnknownRankError] = []
    for node in nodes:
        rewriter = _rewriter(node, opset)
        assert rewriter is not None
        try:
            write_out(ContributedBuilder(main, node), rewriter)
        except UnknownRankError as error:
            unknown.append(error)
    if len(unknown) == len(nodes):
        raise unknown[0]


def _rewriter(node: ir.Node, opset: int) -> Rewriter | None:
    if node.domain == DOMAIN:
        return REWRITERS.get(node.op_type)
    if is_among_standard(node.domain, node.op_type, opset):
        return normalizations.AMONG_STANDARD[node.op_type]
    return None


def _check_layout(model: ir.Model) -> None:
    node = next((node for node in model.graph.all_nodes() if node.domain == OF_ONE_PROCESSOR), None)
    if node is not None:
        raise ModelError(
            f"node {node.name or node.outputs[0].name}: {node.op_type} of {node.domain}: onnxruntime laid this file out for the"
            " processor that it was optimized on; give the file from before, or save it at ORT_ENABLE_EXTENDED"
        )
