"""What a file computes of constants alone, computed once; and nodes that do nothing, or say in two what one says.

Every rule keeps every number. onnxscript's own list has some that do not: it takes constants near 0 or 1 for them, and loses
an epsilon of 1e-12; limits that exclude each other it puts together in the wrong order (see fusing/limits.py).
"""

import math
from collections.abc import Mapping

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer
from onnxscript.rewriter.pattern import RewriteRule
from onnxscript.rewriter.rules import common as rules

from mpq_onnx.graph.chance import draws
from mpq_onnx.passes.neutral_operands import NeutralOperandsPass
from mpq_onnx.passes.rewrite import RewritePass
from mpq_onnx.passes.tied_weights import turns_tied_weight

MOST_READ, LARGEST_FOLDED = 2**24, 2**26
"""Elements of a constant that folding may read, and may make."""
ROUNDS = 2
"""What a round has found out lets more fold."""
GROWING = frozenset(
    {"ConstantOfShape", "Expand", "Tile", "Range", "EyeLike", "Pad", "Resize", "Upsample", "OneHot", "MatMul"}
)
"""Operators whose output may be of any size, however small their inputs are."""
KEPT = ("ConstantOfShape", "DequantizeLinear", "DynamicQuantizeLinear")
"""Operators of constants that stay: they say the same in fewer bytes, or how something is quantized."""
OF_INFERENCE = (
    rules.dropout_zero_rule,
    rules.dropout_inference_rule,
    rules.fuse_batchnorm_into_conv_rule,
    rules.fuse_batchnorm_into_conv_transpose_rule,
    rules.fuse_batchnorm_into_gemm_rule,
)
"""What training has and inference has not."""
RULES = (
    rules.two_reshapes_matmul_reshape_rule,
    rules.one_reshape_matmul_reshape_rule,
    rules.cast_constant_of_shape_rule,
    rules.cast_constant_of_shape_without_value_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.materialize_reshape_shape_rule,
    rules.successive_relu_rule,
    rules.cast_cast_rule,
    rules.no_op_cast_rule,
    rules.no_op_expand_rule,
    rules.flatten_to_reshape_rule,  # before reshape_reshape_rule, which reads what it makes
    rules.reshape_reshape_rule,
    rules.slice_split_rule,
    rules.no_op_transpose_rule,
    rules.transpose_transpose_rule,
    rules.unsqueeze_unsqueeze_rule,
    rules.squeeze_reshape_1d_rule,
    rules.no_op_dynamic_scatter_nd_rule,
    rules.no_op_static_scatter_nd_rule,
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    *OF_INFERENCE,
    rules.remove_optional_bias_from_conv_rule,
    rules.remove_optional_bias_from_conv_transpose_rule,
    rules.remove_optional_bias_from_gemm_rule,
)


def fold_constants(model: ir.Model) -> None:
    """Compute in place what does not depend on inputs, and simplify what says the same in more nodes than it needs.

    Exported shape arithmetic and transposed weights fold, but no table of activations.
    """
    inputs = {value: value.name for value in model.graph.inputs}
    simplify = ir.passes.Sequential(NeutralOperandsPass(), RewritePass(_rules(model)))
    for _ in range(ROUNDS):
        folded = optimizer.fold_constants(
            model,
            onnx_shape_inference=True,
            input_size_limit=MOST_READ,
            output_size_limit=LARGEST_FOLDED,
            should_fold=_folded_by_onnxscript,
        )
        if not (simplify(model).modified or folded.modified):
            break
    ir.passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)
    _name_inputs(model.graph, inputs)


def _rules(model: ir.Model) -> list[RewriteRule]:
    """RULES, without the one that goes through the whole graph at every node where there is no Slice for it to find."""
    has_slices = any(node.op_type == "Slice" for node in model.graph.all_nodes())
    return [rule for rule in RULES if has_slices or rule is not rules.slice_split_rule]


def _name_inputs(graph: ir.Graph, names: Mapping[ir.Value, str | None]) -> None:
    """Undo the optimizer's renaming of inputs that are outputs too, which it gives an Identity."""
    for value, name in names.items():
        if value.name == name:
            continue
        for position, output in enumerate(graph.outputs):
            producer = output.producer()
            if output.name == name and producer is not None and producer.inputs[0] is value:
                graph.outputs[position] = value
                graph.remove(producer, safe=True)
        value.name = name


def may_fold(node: ir.Node) -> bool:
    """Whether a node of constants may become one: not where that would outgrow memory, or tells how a weight is quantized."""
    read = sum(
        each.const_value.size for each in node.inputs if each is not None and each.const_value is not None
    )
    return read <= MOST_READ and node.op_type not in KEPT and _should_fold(node) is not False


def _folded_by_onnxscript(node: ir.Node) -> bool | None:
    """What it warns of instead is left to leftover_constants.py, and to sequences.py."""
    warns = len(node.outputs) > 1 or node.op_type in ("GatherElements", "SequenceEmpty")
    return False if warns else _should_fold(node)


def _should_fold(node: ir.Node) -> bool | None:
    """Nothing that would outgrow memory; weights that a file keeps as the value that fills them; None for the usual rule."""
    if node.op_type == "Identity" or turns_tied_weight(node):
        return False  # it would copy a weight that others read
    if node.op_type == "QuantizeLinear" or _narrows_quantizer(node):
        return False  # a file of another tool says there how many levels a weight has
    if draws(node):
        return False
    size = _folded_size(node)
    if size is None:
        return False if node.op_type in GROWING else None
    if size > LARGEST_FOLDED:
        return False
    return True if node.op_type == "ConstantOfShape" else None


def _narrows_quantizer(node: ir.Node) -> bool:
    return node.op_type == "Clip" and any(
        use.node.op_type == "DequantizeLinear" for use in node.outputs[0].uses()
    )


def _folded_size(node: ir.Node) -> int | None:
    """Elements of the output; None where its shape is not known."""
    if (
        node.op_type == "ConstantOfShape"
        and node.inputs[0] is not None
        and node.inputs[0].const_value is not None
    ):
        return math.prod(int(size) for size in node.inputs[0].const_value.numpy().reshape(-1))
    shape = node.outputs[0].shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else None
