"""How float weights become integers on a given grid; a rounding method is one file and one line in network.ROUNDINGS."""

from mpq_onnx.rounding.layer import Layer, Moments, RoundingMethod
from mpq_onnx.rounding.layerwise import Corrections, RoundingResult, round_weights
from mpq_onnx.rounding.network import BIASES, INT32_BIAS, ROUNDINGS, quantize_network

__all__ = [
    "BIASES",
    "INT32_BIAS",
    "ROUNDINGS",
    "Corrections",
    "Layer",
    "Moments",
    "RoundingMethod",
    "RoundingResult",
    "quantize_network",
    "round_weights",
]
