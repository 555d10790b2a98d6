"""Rounding "nearest": each weight goes to the nearest point of its grid, whatever the data. No torch here."""

from typing import TYPE_CHECKING

from mpq_onnx.arithmetic.quantization import quantize
from mpq_onnx.rounding.layer import Layer, Moments, RoundingMethod

if TYPE_CHECKING:
    from torch import Tensor


class NearestRounding(RoundingMethod):
    needs_moments = False

    def __call__(self, layer: Layer, moments: Moments | None) -> "Tensor":
        return quantize(layer.weight, layer.scale, layer.zero_point, layer.levels)


NEAREST = NearestRounding()
