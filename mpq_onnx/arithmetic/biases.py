"""Biases of a quantized network: int32 at the scale of the products that they are added to. No torch here.

A bias is input scale times weight scale times an integer. Where that integer would pass 2**30, half of what int32 holds (the
rest is for the sum of products and for bias correction), the weight scale of the channel is raised until it does not: a channel
so small beside its bias is nearly zero. Where nothing is left of a channel, or of an input, its scale is free, and its
biases choose it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.arithmetic.quantization import LARGEST_SCALE, SMALLEST_SCALE, bias_scale, dequantize
from mpq_onnx.arithmetic.weights import WeightGrid

LARGEST_INTEGER = 2**30
"""Of a bias before correction."""
FINE_INTEGER = 2**20
"""Of a bias that chooses its own scale: its error is a thirtieth of a step of 16 bits."""
RAISED_TOLERANCE = 2**8
"""A scale is rounded to float32: so near to LARGEST_INTEGER a bias ends whose channel was raised to it."""


@dataclass(frozen=True)
class QuantizedBias:
    """One bias vector, one element an output channel."""

    integers: np.ndarray
    """int32 [channels]; int8 where the bias has scales of its own."""
    scale: np.ndarray
    """float32 [channels]: input scale times weight scale, or the bias's own."""

    def dequantized(self) -> np.ndarray:
        """float32 values, as DequantizeLinear computes them."""
        return dequantize(self.integers.astype(np.float32), self.scale, np.float32(0))


def quantize_bias(
    bias: np.ndarray, input_scale: np.float32, weight_scale: np.ndarray
) -> QuantizedBias | None:
    """`bias` [channels] in whole multiples of input_scale * weight_scale; None where int32 does not hold it."""
    scale = _products_scale(input_scale, weight_scale)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        integers = np.round(bias.astype(np.float64) / scale)
    limits = np.iinfo(np.int32)
    if not np.isfinite(scale).all() or not ((integers >= limits.min) & (integers <= limits.max)).all():
        return None
    found = QuantizedBias(integers.astype(np.int32), scale)
    with np.errstate(over="ignore"):  # rounded up beyond what a float holds
        return found if np.isfinite(found.dequantized()).all() else None


def bias_of_its_own_scale(bias: np.ndarray) -> QuantizedBias:
    """`bias` [channels] as plus or minus 64, or zero, times a scale a channel: exact (64 is a power of two), for any products.

    A float bias between a quantized weight and a quantized input is no way out: onnxruntime's optimizer WeightBiasQuantization
    makes an int32 of it that saturates. An int8 it leaves alone, and computes the node in float.
    """
    factor = 64
    scale = (np.abs(bias) / factor).astype(np.float32)
    normal = scale >= np.finfo(np.float32).tiny
    integers = np.where(normal, np.sign(bias) * factor, 0).astype(np.int8)
    return QuantizedBias(integers, np.where(normal, scale, SMALLEST_SCALE).astype(np.float32))


def raised_scale(grid: WeightGrid, bias: np.ndarray, input_scale: np.float32) -> np.ndarray:
    """The weight scale [channels] at which no bias passes LARGEST_INTEGER; the grid's own wherever that is enough."""
    needed = _scale_that_holds(bias, input_scale, LARGEST_INTEGER)
    held = np.abs(bias.astype(np.float64)) <= LARGEST_INTEGER * _products_scale(
        input_scale, grid.scale
    ).astype(np.float64)
    return np.where(held | (needed > LARGEST_SCALE), grid.scale, needed).astype(np.float32)


def scale_of_empty_channels(grid: WeightGrid, uses: Sequence[tuple[np.ndarray, np.float32]]) -> np.ndarray:
    """The weight scale [channels] whose channels of one level have the scale that their biases need.

    Args:
        uses: (bias [channels], input scale) of every node that reads the weight.
    """
    needed = np.max([_scale_that_holds(bias, scale, FINE_INTEGER) for bias, scale in uses], axis=0)
    return np.where(
        grid.is_empty & (needed > 0), needed.clip(SMALLEST_SCALE, LARGEST_SCALE), grid.scale
    ).astype(np.float32)


def scale_of_empty_input(uses: Sequence[tuple[np.ndarray, WeightGrid]]) -> np.float32:
    """The scale of an input that is always zero: fine enough for the biases of every node that reads it.

    Args:
        uses: (bias [channels], grid of the weight) of those nodes.
    """
    wanted = []
    for bias, grid in uses:
        widest = float(np.where(grid.is_empty, 0, grid.scale).max()) or 1.0  # an empty weight takes any scale
        if bias.any():
            wanted.append(float(np.abs(bias.astype(np.float64)).max()) / FINE_INTEGER / widest)
    return np.float32(np.clip(min(wanted, default=SMALLEST_SCALE), SMALLEST_SCALE, LARGEST_SCALE))


def count_raised(integers: np.ndarray) -> int:
    """How many of the biases `integers` of a file have a channel whose weight scale was raised for them."""
    return int((np.abs(integers.astype(np.int64)) >= LARGEST_INTEGER - RAISED_TOLERANCE).sum())


def _products_scale(input_scale: np.float32, weight_scale: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return bias_scale(np.float32(input_scale), weight_scale.astype(np.float32))


def _scale_that_holds(bias: np.ndarray, input_scale: np.float32, largest: int) -> np.ndarray:
    """float64 [channels]: the weight scale at which `bias` is the integer `largest`."""
    return np.abs(bias.astype(np.float64)) / largest / np.float64(input_scale)
