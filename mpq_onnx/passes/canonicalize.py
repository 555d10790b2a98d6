"""The canonical float form that every later stage starts from.

Opset 21, functions inlined, constants folded and lifted to initializers, BatchNormalization folded into its Conv,
ConvTranspose or Gemm, Dropout and Identity gone, shapes inferred, every node named.
"""

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules.common import (
    dropout_inference_rule,
    dropout_zero_rule,
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    fuse_batchnorm_into_gemm_rule,
)

from mpq_onnx.passes.convert_opset import convert_opset
from mpq_onnx.passes.name_nodes import NameNodesPass
from mpq_onnx.passes.strip_exporter_metadata import StripExporterMetadataPass

REWRITE_RULES = [
    dropout_inference_rule,
    dropout_zero_rule,
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    fuse_batchnorm_into_gemm_rule,
]


def canonicalize(model: ir.Model) -> ir.Model:
    """Bring `model` into canonical form; the result computes the same function up to float rounding.

    Raises:
        ModelError: the opset cannot be converted.
    """
    model = ir.passes.Sequential(common.InlinePass(), common.RemoveInitializersFromInputsPass())(model).model
    model = convert_opset(model)
    _lift_constants(model)
    # The limits let exported shape arithmetic and transposed weights fold, but no table of activations.
    optimizer.optimize_ir(model, input_size_limit=2**24, output_size_limit=2**26, should_fold=_folds_anyway)
    model = rewriter.rewrite(model, REWRITE_RULES)
    _lift_constants(model)
    tidy = ir.passes.Sequential(
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
        NameNodesPass(),
        StripExporterMetadataPass(),
        common.ShapeInferencePass(),
    )
    return tidy(model).model


def _folds_anyway(node: ir.Node) -> bool | None:
    """Weights that a file keeps as the value that fills them are weights all the same."""
    return True if node.op_type == "ConstantOfShape" else None


def _lift_constants(model: ir.Model) -> None:
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
