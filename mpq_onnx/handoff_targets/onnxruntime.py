"""Target ort: what onnxruntime runs fastest: one byte a weight, QDQ around every product, so that integer kernels take it."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import save_model
from mpq_onnx.graph.quantizer_chains import WeightChain
from mpq_onnx.graph.quantizers import integer_limits
from mpq_onnx.handoff_targets.bundle import MODEL_FILE, Bundle, Problem, foreign_quantizers, noise, refuse
from mpq_onnx.handoff_targets.qdq_nodes import stored_weight_node
from mpq_onnx.handoff_targets.replacing import copied, replace_chain
from mpq_onnx.handoff_targets.target import Target
from mpq_onnx.passes.store_integers import remove_unused

KERNEL_BITS = 8


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write model.onnx; bit streams and 4-bit weights have become bytes."""
    refuse(
        bundle.path,
        "ort",
        [*noise(bundle), *foreign_quantizers(bundle), *_wide(bundle)],
        "onnxruntime's integer kernels take 8 bits and static ranges; allocate so, or keep the file as it is: it runs, slower",
    )
    model, chains = copied(bundle)
    for chain in chains.weights:
        if chain.dtype.bitwidth < KERNEL_BITS:
            _write_bytes(model, chain)
    remove_unused(model)
    save_model(model, folder / MODEL_FILE)
    left = [row.name for row in bundle.layers if row.weight_bits is None or row.input_bits is None]
    return [f"runs in float: {', '.join(left)}"] if left else []


def _write_bytes(model: ir.Model, chain: WeightChain) -> None:
    """The same weight in int8, its middle moved to 0, where the kernels are fastest."""
    assert chain.integers.const_value is not None
    lowest, highest = integer_limits(chain.dtype)
    middle = (lowest + highest + 1) // 2
    node = stored_weight_node(
        model.graph,
        chain.integers.const_value.numpy().astype(np.int64) - middle,
        chain.scale,
        chain.zero_point - middle,
        chain.channel_axis,
        ir.DataType.INT8,
        str(chain.result.name),
    )
    replace_chain(model, chain, [node])


def _wide(bundle: Bundle) -> list[Problem]:
    """Tensors that integer kernels have no type for."""
    problems = [
        Problem(chain.node, "an activation over 8 bits")
        for chain in bundle.chains.activations
        if chain.dtype.bitwidth > KERNEL_BITS
    ]
    return problems + [
        Problem(chain.node, "a weight over 8 bits")
        for chain in bundle.chains.weights
        if not chain.is_bias and chain.dtype.bitwidth > KERNEL_BITS
    ]


TARGET = Target(write, runs_in_onnxruntime=True)
