"""The canonical float form that every later stage starts from.

Opset 21, float32 inside, functions inlined, constants folded and lifted to initializers, BatchNormalization folded into its
Conv, ConvTranspose or Gemm, loops of known trips written out, what exporters took apart fused (see fusing/), Dropout and
Identity gone, constants the second operand of their products, tied weights stored once, Einsum in pairs with its labels written
out, alpha and beta folded, shapes inferred, every node named.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.rewriter.rules.common import no_op_transpose_rule, transpose_transpose_rule

from mpq_onnx.errors import ModelError, deepest_line
from mpq_onnx.graph.model_checks import check_dropouts, check_inference, check_weights
from mpq_onnx.graph.operators import MAC_OPS
from mpq_onnx.graph.output_shapes import check_output_shapes
from mpq_onnx.ops.composites import is_composite
from mpq_onnx.passes.batch_constants import FREED, Free
from mpq_onnx.passes.bias_before_reshape import BiasBeforeReshapePass
from mpq_onnx.passes.compute_in_float32 import ComputeInFloat32Pass
from mpq_onnx.passes.contributed import ContributedOperatorsPass
from mpq_onnx.passes.convert_opset import convert_opset
from mpq_onnx.passes.einsum_as_matmul import EinsumAsMatMulPass
from mpq_onnx.passes.einsum_in_pairs import EinsumInPairsPass
from mpq_onnx.passes.eliminate_identities import EliminateIdentitiesPass
from mpq_onnx.passes.fold_constants import OF_INFERENCE, fold_constants
from mpq_onnx.passes.fold_gemm_factors import FoldGemmFactorsPass
from mpq_onnx.passes.fold_lengths import FoldLengthsPass
from mpq_onnx.passes.free_batch import FreeBatchPass
from mpq_onnx.passes.fusing import fuse_composites
from mpq_onnx.passes.gather_nd_rows import GatherNDRowsPass
from mpq_onnx.passes.hold_composites import HoldCompositesPass
from mpq_onnx.passes.infer_shapes import InferShapesPass
from mpq_onnx.passes.infer_shapes_anew import InferShapesAnewPass
from mpq_onnx.passes.leftover_constants import LeftoverConstantsPass
from mpq_onnx.passes.machine_learning import MachineLearningOperatorsPass
from mpq_onnx.passes.name_nodes import NameNodesPass
from mpq_onnx.passes.neutral_operands import NeutralOperandsPass
from mpq_onnx.passes.one_opset import OneOpsetPass
from mpq_onnx.passes.own_lengths import OwnLengthsPass
from mpq_onnx.passes.remove_unread import RemoveUnreadPass
from mpq_onnx.passes.resize_all_axes import ResizeAllAxesPass
from mpq_onnx.passes.rewrite import RewritePass
from mpq_onnx.passes.sequences import SequencesPass
from mpq_onnx.passes.stacks_of_one import StacksOfOnePass
from mpq_onnx.passes.state_defaults import StateDefaultsPass
from mpq_onnx.passes.strip_exporter_metadata import StripExporterMetadataPass
from mpq_onnx.passes.subtracted_constants import SubtractedConstantsPass
from mpq_onnx.passes.tied_weights import TiedWeightsPass
from mpq_onnx.passes.time_major_recurrence import TimeMajorRecurrencePass
from mpq_onnx.passes.transposed_copies import TransposedCopiesPass
from mpq_onnx.passes.unroll_loops import UnrollLoopsPass
from mpq_onnx.passes.weights_on_the_right import WeightsOnTheRightPass
from mpq_onnx.passes.write_einsum_labels import WriteEinsumLabelsPass

MOST_FOLDINGS = 8
"""Attention written out takes four."""


def canonicalize(model: ir.Model, where: str = "the model") -> ir.Model:
    """Bring `model` into canonical form; the result computes the same function up to float rounding.

    Args:
        where: names the model in errors.

    Raises:
        ModelError: the opset cannot be converted, the graph breaks ONNX's rules, or weights are no numbers.
    """
    with _errors_of(where):
        return _simplified(_modern(model))


@dataclass(frozen=True)
class OpenedBatch:
    """What came of opening the batch axis of a model that was exported for one batch size."""

    model: ir.Model | None
    """Its outputs are to be compared with the source's; None where the batch is open already or cannot be opened."""
    reason: str | None
    """What keeps the batch, where that is known."""
    written: tuple[str, ...] = ()
    """Nodes that hold the batch size in a way that can only be guessed."""


def canonicalize_for_any_batch(
    model: ir.Model, where: str = "the model", freed: Mapping[str, Free] = FREED
) -> OpenedBatch:
    """The canonical form of a model that was exported for one batch size, with the batch axis opened.

    That comes before constants are folded, which would write the batch size into many more of them.

    Args:
        freed: one of batch_in_reshapes.READINGS.

    Raises:
        ModelError: as canonicalize.
    """
    free = FreeBatchPass(freed)
    with _errors_of(where):
        modern = _modern(model)
        if not free(modern).modified or free.reason is not None:
            return OpenedBatch(None, free.reason)
        return OpenedBatch(_simplified(modern), free.behind, tuple(free.written))


@contextlib.contextmanager
def _errors_of(where: str) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    except Exception as error:  # onnx_ir and onnxscript raise many kinds for graphs that make no sense
        raise ModelError(f"{where}: cannot be brought into canonical form: {deepest_line(error)}") from error


def _modern(model: ir.Model) -> ir.Model:
    """At opset 21, one graph, no Identity, constants as initializers, inferred shapes."""
    check_inference(model)
    prepare = ir.passes.Sequential(
        OneOpsetPass(),
        common.InlinePass(lambda function: not is_composite(function)),
        common.RemoveInitializersFromInputsPass(),
        EliminateIdentitiesPass(),
        common.TopologicalSortPass(),
        StateDefaultsPass(),
        InferShapesAnewPass(),
    )
    model = prepare(model).model
    ContributedOperatorsPass()(model)
    HoldCompositesPass()(model)
    model = convert_opset(model)
    _lift_constants(model)
    ResizeAllAxesPass()(model)
    GatherNDRowsPass()(model)
    MachineLearningOperatorsPass()(model)
    TimeMajorRecurrencePass()(model)
    return model


def _simplified(model: ir.Model) -> ir.Model:
    """A modern model folded, rewritten, named."""
    _lift_constants(model)
    fold_constants(model)
    unroll = UnrollLoopsPass()
    # What folding found out of shapes lets more of them fold, and tells how often loops run.
    for _ in range(MOST_FOLDINGS):
        InferShapesAnewPass()(model)
        folding = FoldLengthsPass(), OwnLengthsPass(), LeftoverConstantsPass(), unroll, SequencesPass()
        if not [each for each in folding if each(model).modified]:
            break
        fold_constants(model)
    NeutralOperandsPass()(model)
    RemoveUnreadPass()(model)
    ComputeInFloat32Pass()(model)
    SubtractedConstantsPass()(model)
    RewritePass(OF_INFERENCE)(model)
    fuse_composites(model)
    _lift_constants(model)
    ir.passes.Sequential(
        InferShapesPass(),
        WriteEinsumLabelsPass(),
        EinsumInPairsPass(),
        WeightsOnTheRightPass(),
        EinsumAsMatMulPass(),
        InferShapesPass(),
        StacksOfOnePass(),
        InferShapesPass(),
        BiasBeforeReshapePass(),
        FoldGemmFactorsPass(),
        NeutralOperandsPass(),
    )(model)
    RewritePass((transpose_transpose_rule, no_op_transpose_rule))(model)
    ir.passes.Sequential(InferShapesPass(), TransposedCopiesPass(), TiedWeightsPass())(model)
    tidy = ir.passes.Sequential(
        EliminateIdentitiesPass(),
        common.DeduplicateHashedInitializersPass(),
        common.RemoveUnusedNodesPass(),
        RemoveUnreadPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
        NameNodesPass(),
        StripExporterMetadataPass(),
        InferShapesAnewPass(),
    )
    model = tidy(model).model
    check_weights(model, MAC_OPS)
    check_dropouts(model)
    check_output_shapes(model)
    return model


def _lift_constants(model: ir.Model) -> None:
    """Constants become initializers, in memory as files hold them: a folded Transpose leaves a view that cannot be hashed."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.Tensor) and not tensor.numpy().flags.c_contiguous:
                array = np.ascontiguousarray(tensor.numpy())
                value.const_value = ir.Tensor(array, dtype=tensor.dtype, name=tensor.name)
