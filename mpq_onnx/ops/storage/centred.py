"""Quantized weights as 8- or 16-bit integers whose zero point is as near to the middle of their type as they allow.

The middle is 0 for int8 and int16 and 128 for uint8; onnxruntime's integer kernels are fastest where the zero point is the
middle for the whole tensor. uint8 is taken where int8 weights could saturate on x86 without VNNI (arithmetic.saturation): its
kernels are right on any processor, and half as fast or less.
"""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.arithmetic.quantization import INT8_LEVELS
from mpq_onnx.arithmetic.saturation import saturates
from mpq_onnx.arithmetic.weights import QuantizedWeight, along_axis


@dataclass(frozen=True)
class CentredWeight:
    """Integers and zero points in one type; q - offset for the integers q of a QuantizedWeight."""

    integers: np.ndarray
    """int8, uint8 or int16, in the weight's own shape."""
    zero_point: np.ndarray
    """The same type, [channels]."""
    offset: np.ndarray
    """int32 [channels]."""


def centre(weight: QuantizedWeight, *, signed: bool = False) -> CentredWeight:
    """`weight` in int8 or uint8, or in int16 where a channel has more than 256 levels.

    Args:
        signed: never in uint8, for processors whose kernels do not saturate.
    """
    shape = along_axis(weight.integers.ndim, weight.channel_axis)
    old_zero_point = weight.grid.zero_point.astype(np.int32)
    distances = weight.integers - old_zero_point.reshape(shape)
    container = np.iinfo(_container(weight, distances, signed))
    others = tuple(axis for axis in range(distances.ndim) if axis != weight.channel_axis)
    lowest, highest = container.min - distances.min(axis=others), container.max - distances.max(axis=others)
    if weight.grid.is_per_tensor:  # one scale, one zero point
        lowest, highest = np.full_like(lowest, lowest.max()), np.full_like(highest, highest.min())
    middle = (container.min + container.max + 1) // 2
    zero_point = np.full(len(old_zero_point), middle, np.int32).clip(lowest, highest)
    integers = distances + zero_point.reshape(shape)
    return CentredWeight(
        integers.astype(container.dtype), zero_point.astype(container.dtype), old_zero_point - zero_point
    )


def _container(weight: QuantizedWeight, distances: np.ndarray, signed: bool) -> type[np.integer]:
    if weight.grid.levels.max() > INT8_LEVELS:
        return np.int16
    if signed or not saturates(distances, weight.channel_axis, weight.grid.added):
        return np.int8
    return np.uint8
