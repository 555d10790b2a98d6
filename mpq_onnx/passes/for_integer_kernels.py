"""What is done to a quantized graph so that onnxruntime finds its integer kernels; nothing of it changes what is computed."""

import onnx_ir as ir

from mpq_onnx.passes.gather_integers import GatherIntegersPass
from mpq_onnx.passes.repeat_quantizers import RepeatQuantizersPass


def for_integer_kernels(model: ir.Model) -> None:
    """Rewrite a QDQ graph in place."""
    GatherIntegersPass()(model)
    RepeatQuantizersPass()(model)
