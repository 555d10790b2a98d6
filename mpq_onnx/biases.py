"""Biases of a quantized network: int32 at the scale of the products that they are added to. No torch here."""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.quantization import bias_scale, dequantize


@dataclass(frozen=True)
class QuantizedBias:
    """One bias vector, one element an output channel."""

    integers: np.ndarray
    """int32 [channels]."""
    scale: np.ndarray
    """float32 [channels]: input scale times weight scale."""

    def dequantized(self) -> np.ndarray:
        """float32 values, as DequantizeLinear computes them."""
        return dequantize(self.integers.astype(np.float32), self.scale, np.float32(0))


def quantize_bias(bias: np.ndarray, input_scale: np.float32, weight_scale: np.ndarray) -> QuantizedBias:
    """`bias` [channels] in whole multiples of input_scale * weight_scale, held inside int32."""
    scale = bias_scale(np.float32(input_scale), weight_scale.astype(np.float32))
    limits = np.iinfo(np.int32)
    integers = np.round(bias.astype(np.float64) / scale).clip(limits.min, limits.max)
    return QuantizedBias(integers.astype(np.int32), scale)
