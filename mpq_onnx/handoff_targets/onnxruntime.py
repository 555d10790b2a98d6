"""Target ort: what onnxruntime runs fastest: one byte a weight, QDQ around every product, so that integer kernels take it."""

from pathlib import Path

from mpq_onnx.handoff_targets.bundle import Bundle, Problem, foreign_quantizers, noise, refuse
from mpq_onnx.model_file import save_model

MODEL_FILE = "model.onnx"
KERNEL_BITS = 8


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write model.onnx; bit streams and 4-bit weights have become bytes."""
    refuse(
        bundle.path,
        "ort",
        [*noise(bundle), *foreign_quantizers(bundle), *_wide(bundle)],
        "onnxruntime's integer kernels take 8 bits and static ranges; allocate so, or keep the file as it is: it runs, slower",
    )
    save_model(bundle.model, folder / MODEL_FILE)
    left = [row.name for row in bundle.layers if row.weight_bits is None or row.input_bits is None]
    return [f"runs in float: {', '.join(left)}"] if left else []


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
