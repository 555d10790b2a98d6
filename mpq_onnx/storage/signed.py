"""Quantized weights as signed integers whose zero point is as near to 0 as they allow.

It is 0 for all widths below 8 bits and for most 8-bit channels; onnxruntime's integer kernels are fastest where it is 0 for
the whole tensor.
"""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.weights import QuantizedWeight, along_axis


@dataclass(frozen=True)
class SignedWeight:
    """Integers and zero points in one signed type; q - offset for the integers q of a QuantizedWeight."""

    integers: np.ndarray
    """int8 or int16, in the weight's own shape."""
    zero_point: np.ndarray
    """The same type, [channels]."""
    offset: np.ndarray
    """int32 [channels]."""


def to_signed(weight: QuantizedWeight) -> SignedWeight:
    """`weight` in int8, or int16 where a channel has more than 256 levels."""
    shape = along_axis(weight.integers.ndim, weight.channel_axis)
    container = np.iinfo(np.int8 if int(weight.grid.levels.max()) <= 256 else np.int16)
    old_zero_point = weight.grid.zero_point.astype(np.int32)
    centred = weight.integers - old_zero_point.reshape(shape)
    others = tuple(axis for axis in range(centred.ndim) if axis != weight.channel_axis)
    lowest, highest = container.min - centred.min(axis=others), container.max - centred.max(axis=others)
    zero_point = np.zeros(len(old_zero_point), np.int32).clip(lowest, highest)
    integers = centred + zero_point.reshape(shape)
    return SignedWeight(
        integers.astype(container.dtype), zero_point.astype(container.dtype), old_zero_point - zero_point
    )
