"""How float weights become integers on a given grid; a rounding method is one file and one line in ROUNDINGS."""

from mpq_onnx.rounding.adaptive import AdaptiveRounding
from mpq_onnx.rounding.layer import Layer, Moments, RoundingMethod
from mpq_onnx.rounding.layerwise import RoundingResult, round_weights
from mpq_onnx.rounding.nearest import NearestRounding

ROUNDINGS: dict[str, RoundingMethod] = {
    "nearest": NearestRounding(),
    "adaptive": AdaptiveRounding(),
}

__all__ = ["ROUNDINGS", "Layer", "Moments", "RoundingMethod", "RoundingResult", "round_weights"]
