"""Quantized weights: integers with one scale, zero point and number of levels per output channel. No torch here."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpq_onnx.arithmetic.observers.range_search import best_range
from mpq_onnx.arithmetic.quantization import (
    ASYMMETRIC,
    WEIGHT_SCHEMES,
    Scheme,
    dequantize,
    levels_of,
    quantize,
)
from mpq_onnx.errors import PluginError
from mpq_onnx.registries import PER_CHANNEL, PER_TENSOR, WEIGHT_OBSERVERS

RangeFinder = Callable[[np.ndarray, np.ndarray, Scheme], tuple[np.ndarray, np.ndarray]]
"""Of registries.WEIGHT_OBSERVERS."""


def min_max_range(rows: np.ndarray, levels: np.ndarray, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """The whole range of every row."""
    return rows.min(axis=1), rows.max(axis=1)


def least_error_range(rows: np.ndarray, levels: np.ndarray, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """The range with the least squared error, for every row."""
    return best_range(rows, levels, scheme=scheme)


@dataclass(frozen=True)
class WeightRules:
    """How the grids of weights are found."""

    observer: str = "mse"
    """A name in WEIGHT_OBSERVERS."""
    scheme: str = ASYMMETRIC
    """A name in quantization.WEIGHT_SCHEMES."""
    scales: str = PER_CHANNEL
    """One scale an output channel, or one a tensor."""

    def with_own(self, scheme: str | None, scales: str | None) -> "WeightRules":
        """These rules for a tensor that has a scheme or scales of its own."""
        return dataclasses.replace(self, scheme=scheme or self.scheme, scales=scales or self.scales)

    def with_one_scale(self, has_one_scale: bool) -> "WeightRules":
        """These rules, with one scale for the tensor where it has to have one."""
        return dataclasses.replace(self, scales=PER_TENSOR) if has_one_scale else self


TABLE_RULES = WeightRules("minmax")
"""Of embedding tables: a row at 8 bits gains nothing from a search of its range, and there are many rows."""


@dataclass(frozen=True)
class WeightGrid:
    """The affine quantizer of one weight tensor, an entry an output channel."""

    scale: np.ndarray
    """float32 [channels]."""
    zero_point: np.ndarray
    """float32 [channels], whole numbers."""
    levels: np.ndarray
    """float32 [channels]; 1 for a channel that is pruned, or all zero."""
    added: str | None = None
    """Which products integer kernels add in 16 bits (see arithmetic.saturation), for a grid that was made for int8."""

    @property
    def is_empty(self) -> np.ndarray:
        """bool [channels]: nothing but zero can be stored there, whatever the scale."""
        return self.levels == 1

    @property
    def is_per_tensor(self) -> bool:
        """True where all channels have the same quantizer."""
        return all(bool((each == each[0]).all()) for each in (self.scale, self.zero_point, self.levels))


@dataclass(frozen=True)
class QuantizedWeight:
    """One weight tensor on its grid."""

    integers: np.ndarray
    """In the weight's own shape, 0 .. levels-1, of the smallest unsigned type that holds them."""
    grid: WeightGrid
    channel_axis: int

    @staticmethod
    def of(integers: np.ndarray, grid: WeightGrid, channel_axis: int) -> "QuantizedWeight":
        """Args: integers: of any type."""
        smallest = np.min_scalar_type(int(grid.levels.max(initial=1)) - 1)
        return QuantizedWeight(integers.astype(smallest), grid, channel_axis)

    def dequantized(self) -> np.ndarray:
        """float32 values, as DequantizeLinear computes them."""
        shape = along_axis(self.integers.ndim, self.channel_axis)
        integers = self.integers - self.grid.zero_point.reshape(shape).astype(np.int32)
        return dequantize(integers.astype(np.float32), self.grid.scale.reshape(shape), np.float32(0))


def weight_grid(rows: np.ndarray, bits: np.ndarray, rules: WeightRules) -> WeightGrid:
    """The grid of every output channel at its own width.

    Args:
        rows: float32 [channels, weights of a channel].
        bits: [channels].
    """
    levels = np.array([levels_of(float(width)) for width in bits], dtype=np.float32)
    scheme = WEIGHT_SCHEMES[rules.scheme]
    find = _channel_ranges if rules.scales == PER_CHANNEL else _tensor_ranges
    low, high = find(rows, levels, _range_finder(rules.observer), scheme)
    scale, zero_point, used = scheme.fit(low.astype(np.float32), high.astype(np.float32), levels)
    return WeightGrid(scale.astype(np.float32), zero_point.astype(np.float32), np.asarray(used))


def _range_finder(name: str) -> RangeFinder:
    """The weight observer of a name, of ours or of another package."""

    def find(rows: np.ndarray, levels: np.ndarray, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
        found = WEIGHT_OBSERVERS[name](rows, levels, scheme)
        try:
            low, high = (np.asarray(each, np.float64) for each in found)
        except (TypeError, ValueError):
            low = high = np.array(np.nan)
        fits = low.shape == high.shape == levels.shape and np.isfinite([low, high]).all()
        if not fits or (low > high).any():
            raise PluginError(
                f"weight observer {name}: gave no (low, high) with finite numbers, low no larger than high, for each of"
                f" {len(rows)} rows; docs/plugins.md says what it must give"
            )
        return low, high

    return find


def _channel_ranges(
    rows: np.ndarray, levels: np.ndarray, find: RangeFinder, scheme: Scheme
) -> tuple[np.ndarray, np.ndarray]:
    return find(rows, levels, scheme)


def _tensor_ranges(
    rows: np.ndarray, levels: np.ndarray, find: RangeFinder, scheme: Scheme
) -> tuple[np.ndarray, np.ndarray]:
    """The whole tensor's range for every channel, found once for each number of levels that occurs."""
    low, high = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
    for count in np.unique(levels):
        low[levels == count], high[levels == count] = find(rows.reshape(1, -1), count.reshape(1), scheme)
    return low, high


def quantize_to_nearest(weight: np.ndarray, channel_axis: int, weight_grid: WeightGrid) -> QuantizedWeight:
    """`weight` rounded to the nearest point of its grid."""
    shape = along_axis(weight.ndim, channel_axis)
    integers = quantize(
        weight,
        weight_grid.scale.reshape(shape),
        weight_grid.zero_point.reshape(shape),
        weight_grid.levels.reshape(shape),
    )
    return QuantizedWeight.of(integers, weight_grid, channel_axis)


def channels_first(array: np.ndarray, channel_axis: int) -> np.ndarray:
    """`array` with the channel axis moved to the front."""
    return np.moveaxis(array, channel_axis, 0)


def channel_rows(weight: np.ndarray, channel_axis: int) -> np.ndarray:
    """`weight` as float32 [channels, weights of a channel]."""
    return channels_first(weight, channel_axis).reshape(weight.shape[channel_axis], -1).astype(np.float32)


def along_axis(rank: int, axis: int) -> tuple[int, ...]:
    """The shape that lets a vector broadcast along `axis` of a tensor of `rank` dimensions."""
    return tuple(-1 if i == axis else 1 for i in range(rank))
