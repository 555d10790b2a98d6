"""Target tensorrt: explicit QDQ as TensorRT takes it: int8 activations, int8 or int4 weights, zero points 0, float biases."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import save_model
from mpq_onnx.graph.operators import PASS_THROUGH
from mpq_onnx.graph.quantizer_chains import ActivationChain
from mpq_onnx.handoff_targets.bundle import (
    MODEL_FILE,
    Bundle,
    Problem,
    foreign_quantizers,
    mixed_channel_widths,
    noise,
    refuse,
)
from mpq_onnx.handoff_targets.integer_range import ExportedActivation, exported_activation, integer_range
from mpq_onnx.handoff_targets.qdq_nodes import quantizer_nodes, stored_weight_node
from mpq_onnx.handoff_targets.replacing import copied, inline_composites, replace_chain, store_float
from mpq_onnx.handoff_targets.target import Target
from mpq_onnx.passes.repeat_quantizers import RepeatQuantizersPass
from mpq_onnx.passes.store_integers import remove_unused

ACTIVATION_BITS = 8
WEIGHT_TYPES = {8: ir.DataType.INT8, 4: ir.DataType.INT4}


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write model.onnx."""
    refuse(
        bundle.path,
        "tensorrt",
        [*noise(bundle), *foreign_quantizers(bundle), *mixed_channel_widths(bundle), *_inexpressible(bundle)],
        "allocate with --weight-scheme symmetric --activation-scheme symmetric --bit-choices 4,8 --activation-bit-choices 8",
    )
    model, chains = copied(bundle)
    for chain in chains.activations:
        exported = _exported(chain)
        nodes = quantizer_nodes(
            model.graph,
            chain.source,
            exported.scale,
            exported.zero_point,
            exported.integers,
            None,
            str(chain.result.name),
        )
        replace_chain(model, chain, nodes)
    for weight in chains.weights:
        stored = bundle.exported_weight(weight)
        if weight.is_bias:
            store_float(model, weight, stored.dequantized())
            continue
        node = stored_weight_node(
            model.graph,
            stored.values,
            stored.scale,
            stored.zero_point,
            stored.channel_axis,
            WEIGHT_TYPES[stored.integers.bits],
            str(weight.result.name),
        )
        replace_chain(model, weight, [node])
    RepeatQuantizersPass(PASS_THROUGH, (ir.DataType.INT8,))(model)
    inline_composites(model)
    remove_unused(model)
    save_model(model, folder / MODEL_FILE)
    return []


def _exported(chain: ActivationChain) -> ExportedActivation:
    """`chain`; one level, of what is always zero, is written with all of int8: TensorRT has no Clip that would narrow it."""
    if chain.levels > 1:
        return exported_activation(chain)
    all_levels = integer_range(2**ACTIVATION_BITS, symmetric=True)
    return ExportedActivation(chain.scale, np.zeros_like(chain.zero_point), all_levels)


def _inexpressible(bundle: Bundle) -> list[Problem]:
    problems = []
    for chain in bundle.chains.activations:
        integers = _exported(chain).integers
        if integers.levels != 2**ACTIVATION_BITS:
            problems.append(Problem(chain.node, "an activation of other than 8 bits"))
        elif not integers.is_signed:
            problems.append(Problem(chain.node, "an activation with a zero point"))
    for weight in bundle.chains.weights:
        if weight.is_bias or len(np.unique(bundle.weight_levels(weight))) > 1:
            continue
        stored = bundle.exported_weight(weight)
        if stored.integers.exact_bits not in WEIGHT_TYPES:
            problems.append(Problem(weight.node, "a weight of other than 4 or 8 bits"))
        elif stored.zero_point.any():
            problems.append(Problem(weight.node, "a weight with a zero point"))
    return problems


TARGET = Target(write, runs_in_onnxruntime=True)
