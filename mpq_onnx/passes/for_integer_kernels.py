"""What is done to a quantized graph so that onnxruntime finds its integer kernels; nothing of it changes what is computed."""

import onnx_ir as ir

from mpq_onnx.passes.gather_integers import GatherIntegersPass
from mpq_onnx.passes.repeat_quantizers import RepeatQuantizersPass

ACTIVATION_TYPES = (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT16, ir.DataType.INT16)


def for_integer_kernels(model: ir.Model) -> None:
    """Rewrite a QDQ graph in place."""
    GatherIntegersPass()(model)
    RepeatQuantizersPass(("Split",), ACTIVATION_TYPES)(model)
