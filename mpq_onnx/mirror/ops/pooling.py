"""Pooling over sliding windows and over all positions."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.mirror.ops.sliding_window import (
    AxisPads,
    SlidingWindow,
    pad_spatial,
    sliding_window,
    split_pads,
)

_MAX_POOL: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def max_pool(
    x: Tensor, *, kernel_shape: Sequence[int], storage_order: int = 0, **attributes: Any
) -> tuple[Tensor, Tensor]:
    """Returns (values, flat indices into `x`)."""
    window = sliding_window(x.shape[2:], kernel_shape, attributes)
    padded = window.pad(x if x.is_floating_point() else x.to(torch.float32), -math.inf)
    values, positions = _MAX_POOL[len(kernel_shape)](
        padded, window.kernel, window.strides, 0, window.dilations, return_indices=True
    )
    return values.to(x.dtype), _flat_indices(positions, x, padded, window.pads, storage_order)


def max_pool_values(x: Tensor, *, kernel_shape: Sequence[int], **attributes: Any) -> Tensor:
    """max_pool without indices: torch's own padding where it can take it."""
    window = sliding_window(x.shape[2:], kernel_shape, attributes)
    pads = window.begin_pads
    if (
        pads is None
        or not x.is_floating_point()
        or any(2 * p > k for p, k in zip(pads, kernel_shape, strict=True))
    ):
        return max_pool(x, kernel_shape=kernel_shape, **attributes)[0]
    return _MAX_POOL[len(kernel_shape)](x, window.kernel, window.strides, pads, window.dilations)


def max_unpool(
    x: Tensor,
    indices: Tensor,
    output_shape: Tensor | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Each value where it was taken from: indices are flat ones into the whole result, of `output_shape` where it is given."""
    cut = split_pads(pads, len(kernel_shape))
    lengths = [
        (size - 1) * step + kernel - begin - end
        for size, step, kernel, (begin, end) in zip(
            x.shape[2:], strides or [1] * len(kernel_shape), kernel_shape, cut, strict=True
        )
    ]
    shape = [*x.shape[:2], *lengths] if output_shape is None else [int(size) for size in output_shape]
    empty = torch.zeros(math.prod(shape), dtype=x.dtype, device=x.device)
    return empty.scatter(0, indices.reshape(-1), x.reshape(-1)).reshape(shape)


def average_pool(
    x: Tensor, *, kernel_shape: Sequence[int], count_include_pad: int = 0, **attributes: Any
) -> Tensor:
    """Window sums divided by window counts; the positions that ceil_mode adds are never counted."""
    window = sliding_window(x.shape[2:], kernel_shape, attributes)
    if window.begin_pads == [0] * len(kernel_shape) and set(window.dilations) == {1}:
        return _AVG_POOL[len(kernel_shape)](x, window.kernel, window.strides)
    counted = pad_spatial(torch.ones_like(x[:1, :1]), window.pads, 1.0 if count_include_pad else 0.0)
    return _window_sum(window.pad(x), window) / _window_sum(pad_spatial(counted, window.ceil_pads), window)


def lp_pool(x: Tensor, *, kernel_shape: Sequence[int], p: int = 2, **attributes: Any) -> Tensor:
    window = sliding_window(x.shape[2:], kernel_shape, attributes)
    return _window_sum(window.pad(x).abs() ** p, window) ** (1 / p)


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return torch.amax(x, dim=tuple(range(2, x.dim())), keepdim=True)


def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    return (x.abs() ** p).sum(dim=tuple(range(2, x.dim())), keepdim=True) ** (1 / p)


def _window_sum(x: Tensor, window: SlidingWindow) -> Tensor:
    """Sum over each window of a padded input, channel by channel, as a convolution with ones."""
    channels = x.shape[1]
    ones = torch.ones((channels, 1, *window.kernel), dtype=x.dtype, device=x.device)
    return _CONV[len(window.kernel)](x, ones, None, window.strides, 0, window.dilations, channels)


def _flat_indices(positions: Tensor, x: Tensor, padded: Tensor, pads: AxisPads, storage_order: int) -> Tensor:
    """torch's indices into each padded plane as ONNX's indices into the whole unpadded tensor."""
    sizes, padded_sizes = x.shape[2:], padded.shape[2:]
    coordinates = []
    rest = positions
    for size in reversed(padded_sizes):
        coordinates.append(rest % size)
        rest = rest // size
    coordinates = [c - begin for c, (begin, _) in zip(reversed(coordinates), pads, strict=True)]
    order = range(len(sizes)) if storage_order == 0 else reversed(range(len(sizes)))
    flat = torch.zeros_like(positions)
    for axis in order:
        flat = flat * sizes[axis] + coordinates[axis]
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device).reshape(*x.shape[:2], *[1] * len(sizes))
    return flat + planes * math.prod(sizes)


OPS: dict[str, Callable[..., Any]] = {
    "MaxPool": max_pool_values,
    "MaxUnpool": max_unpool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
}
