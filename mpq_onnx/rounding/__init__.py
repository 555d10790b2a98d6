"""How float weights become integers on a given grid; a rounding method is one file and one line in network.ROUNDINGS."""

from mpq_onnx.rounding.layer import Layer, Moments, RoundingMethod
from mpq_onnx.rounding.layerwise import RoundingResult, round_weights
from mpq_onnx.rounding.network import ROUNDINGS, quantize_network

__all__ = [
    "ROUNDINGS",
    "Layer",
    "Moments",
    "RoundingMethod",
    "RoundingResult",
    "quantize_network",
    "round_weights",
]
