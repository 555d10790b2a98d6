"""Quantized weights: integers with one scale, zero point and number of levels per output channel. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpq_onnx.observers.range_search import best_range
from mpq_onnx.quantization import dequantize, grid, levels_of, quantize

RangeFinder = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def min_max_range(rows: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole range of every row."""
    return rows.min(axis=1), rows.max(axis=1)


WEIGHT_OBSERVERS: dict[str, RangeFinder] = {"mse": best_range, "minmax": min_max_range}


@dataclass(frozen=True)
class WeightGrid:
    """The affine quantizer of one weight tensor, asymmetric, per output channel."""

    scale: np.ndarray
    """float32 [channels]."""
    zero_point: np.ndarray
    """float32 [channels], whole numbers."""
    levels: np.ndarray
    """float32 [channels]; 1 for a pruned channel."""


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight tensor on its grid."""

    integers: np.ndarray
    """int32, in the weight's own shape: 0 .. levels-1."""
    grid: WeightGrid
    channel_axis: int

    def dequantized(self) -> np.ndarray:
        """float32 values, as DequantizeLinear computes them."""
        shape = along_axis(self.integers.ndim, self.channel_axis)
        integers = self.integers - self.grid.zero_point.reshape(shape).astype(np.int32)
        return dequantize(integers.astype(np.float32), self.grid.scale.reshape(shape), np.float32(0))


def weight_grid(rows: np.ndarray, bits: np.ndarray, observer: str) -> WeightGrid:
    """The grid of every output channel at its own width.

    Args:
        rows: float32 [channels, weights of a channel].
        bits: [channels].
        observer: a name in WEIGHT_OBSERVERS.
    """
    levels = np.array([levels_of(float(width)) for width in bits], dtype=np.float32)
    low, high = WEIGHT_OBSERVERS[observer](rows, levels)
    scale, zero_point = grid(low.astype(np.float32), high.astype(np.float32), levels)
    return WeightGrid(scale.astype(np.float32), zero_point.astype(np.float32), levels)


def quantize_to_nearest(weight: np.ndarray, channel_axis: int, weight_grid: WeightGrid) -> QuantizedWeight:
    """`weight` rounded to the nearest point of its grid."""
    shape = along_axis(weight.ndim, channel_axis)
    integers = quantize(
        weight,
        weight_grid.scale.reshape(shape),
        weight_grid.zero_point.reshape(shape),
        weight_grid.levels.reshape(shape),
    )
    return QuantizedWeight(integers.astype(np.int32), weight_grid, channel_axis)


def channels_first(array: np.ndarray, channel_axis: int) -> np.ndarray:
    """`array` with the channel axis moved to the front."""
    return np.moveaxis(array, channel_axis, 0)


def channel_rows(weight: np.ndarray, channel_axis: int) -> np.ndarray:
    """`weight` as float32 [channels, weights of a channel]."""
    return channels_first(weight, channel_axis).reshape(weight.shape[channel_axis], -1).astype(np.float32)


def along_axis(rank: int, axis: int) -> tuple[int, ...]:
    """The shape that lets a vector broadcast along `axis` of a tensor of `rank` dimensions."""
    return tuple(-1 if i == axis else 1 for i in range(rank))
