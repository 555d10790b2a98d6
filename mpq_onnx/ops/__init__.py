"""Noisy multiply-accumulate operators as ONNX functions: they run in any onnxruntime, no extension needed.

One file an operator (its geometry), built into a function for each set of noise models by noisy_function. docs/ops/README.md is
their specification.
"""

from mpq_onnx.ops.conv import ConvGeometry
from mpq_onnx.ops.conv_transpose import ConvTransposeGeometry
from mpq_onnx.ops.einsum import EinsumGeometry
from mpq_onnx.ops.gemm import GemmGeometry
from mpq_onnx.ops.geometry import Geometry
from mpq_onnx.ops.matmul import MatMulGeometry

GEOMETRIES: dict[str, Geometry] = {
    "Conv": ConvGeometry(),
    "ConvTranspose": ConvTransposeGeometry(),
    "Gemm": GemmGeometry(),
    "MatMul": MatMulGeometry(),
    "Einsum": EinsumGeometry(),
}

__all__ = ["GEOMETRIES", "Geometry"]
