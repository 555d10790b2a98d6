"""Operators of ai.onnx.ml, as scikit-learn's converters write them, in standard operators of the canonical opset.

One family a file; a new operator is one function and one line in its family's OPS. onnxruntime, which runs the source, is the
judge. Trees and support vector machines multiply no activation by a weight: alone they are refused by name, behind a network
they stay as they are.
"""

import json

import onnx_ir as ir

from mpq_onnx.graph.class_names import class_names
from mpq_onnx.graph.metadata import METADATA_LABELS
from mpq_onnx.graph.uncounted import multiplies
from mpq_onnx.passes.convert_opset import CANONICAL_OPSET
from mpq_onnx.passes.machine_learning import features, labels, linear, scaling
from mpq_onnx.passes.machine_learning.builder import LearnedBuilder, Rewriter
from mpq_onnx.passes.writing_out import write_out

DOMAIN = "ai.onnx.ml"
REWRITERS: dict[str, Rewriter] = {**features.OPS, **labels.OPS, **linear.OPS, **scaling.OPS}
WITHOUT_WEIGHTS = {
    "TreeEnsemble": "decision trees", "TreeEnsembleClassifier": "decision trees",
    "TreeEnsembleRegressor": "decision trees", "SVMClassifier": "support vector machines",
    "SVMRegressor": "support vector machines",
}  # fmt: skip


class MachineLearningOperatorsPass(ir.passes.InPlacePass):
    """Rewrite every node of ai.onnx.ml; where labels are text, they become numbers and the model's metadata their names."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [node for node in model.graph.all_nodes() if node.domain == DOMAIN]
        names = class_names(model)
        for node in nodes:
            _rewrite(model.graph, node)
        if nodes:
            model.opset_imports.setdefault("", CANONICAL_OPSET)
        modified = bool(nodes)
        if names:
            model.metadata_props.setdefault(METADATA_LABELS, json.dumps(names))
            modified |= _text_to_numbers(model)
        return ir.passes.PassResult(model, modified=modified)


def _rewrite(main: ir.Graph, node: ir.Node) -> None:
    builder = LearnedBuilder(main, node)
    if node.op_type in WITHOUT_WEIGHTS and any(map(multiplies, main)):
        return  # behind a network they are post-processing
    if node.op_type in WITHOUT_WEIGHTS:
        kind = WITHOUT_WEIGHTS[node.op_type]
        raise builder.refusal(f"{kind} have no weights that multiply activations, so nothing to allocate")
    if node.op_type not in REWRITERS:
        raise builder.refusal(f"it has no standard form here; {', '.join(sorted(REWRITERS))} have")
    write_out(builder, REWRITERS[node.op_type])


def _text_to_numbers(model: ir.Model) -> bool:
    """What still carries text carries the numbers of classes now."""
    values = [value for node in model.graph.all_nodes() for value in node.outputs]
    texts = [value for value in values if value.dtype == ir.DataType.STRING]
    for value in texts:
        value.dtype = ir.DataType.INT64
    return bool(texts)
