"""Operators that onnxruntime has beyond ONNX's, and writes into the files that it optimizes."""

import onnx

from mpq_onnx.graph.operators import STANDARD_DOMAINS

DOMAIN = "com.microsoft"
OF_ONE_PROCESSOR = "com.microsoft.nchwc"
"""Layers whose tensors are laid out for the processor that the file was optimized on."""
AMONG_STANDARD = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
"""Operators that onnxruntime puts into ONNX's own domain."""


def is_among_standard(domain: str, op_type: str, opset: int) -> bool:
    """True for an operator of onnxruntime in ONNX's domain, where ONNX itself has none of that name at `opset`."""
    return domain in STANDARD_DOMAINS and op_type in AMONG_STANDARD and not onnx.defs.has(op_type, opset, "")
