"""Pooling over sliding windows and over all positions."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.mirror.ops.padding import AxisPads, pad_spatial, resolve_pads, symmetric

_MAX_POOL: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    storage_order: int = 0,
    strides: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns (values, flat indices into `x`)."""
    rank = len(kernel_shape)
    strides = list(strides or [1] * rank)
    dilations = list(dilations or [1] * rank)
    window = [(k - 1) * d + 1 for k, d in zip(kernel_shape, dilations, strict=True)]
    axis_pads = resolve_pads(auto_pad, pads, x.shape[2:], window, strides)
    end_pads = _ceil_extra(x.shape[2:], window, strides, axis_pads) if ceil_mode else [0] * rank
    padded_by = [(begin, end + more) for (begin, end), more in zip(axis_pads, end_pads, strict=True)]
    floating = x if x.is_floating_point() else x.to(torch.float32)
    padded = pad_spatial(floating, padded_by, -math.inf)
    values, positions = _MAX_POOL[rank](padded, kernel_shape, strides, 0, dilations, return_indices=True)
    return values.to(x.dtype), _flat_indices(positions, x, padded, padded_by, storage_order)


def max_pool_values(x: Tensor, **attributes: Any) -> Tensor:
    """max_pool without indices: torch's own padding where it can take it."""
    kernel, pads = attributes["kernel_shape"], attributes.get("pads")
    rank = len(kernel)
    plain = attributes.get("auto_pad", "NOTSET") == "NOTSET" and not attributes.get("ceil_mode")
    if plain and x.is_floating_point():
        axis_pads = resolve_pads("NOTSET", pads, x.shape[2:], [], [])
        if symmetric(axis_pads) and all(2 * b <= k for (b, _), k in zip(axis_pads, kernel, strict=True)):
            strides = attributes.get("strides") or [1] * rank
            dilations = attributes.get("dilations") or [1] * rank
            return _MAX_POOL[rank](x, kernel, strides, [b for b, _ in axis_pads], dilations)
    return max_pool(x, **attributes)[0]


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Window sums divided by window counts; the positions that ceil_mode adds are never counted."""
    rank = len(kernel_shape)
    strides = list(strides or [1] * rank)
    dilations = list(dilations or [1] * rank)
    window = [(k - 1) * d + 1 for k, d in zip(kernel_shape, dilations, strict=True)]
    axis_pads = resolve_pads(auto_pad, pads, x.shape[2:], window, strides)
    extra = _ceil_extra(x.shape[2:], window, strides, axis_pads) if ceil_mode else [0] * rank
    if not any(extra) and all(d == 1 for d in dilations) and not any(b or e for b, e in axis_pads):
        return _AVG_POOL[rank](x, kernel_shape, strides)
    inside = torch.ones_like(x[:1, :1])
    counted = pad_spatial(inside, axis_pads, 1.0 if count_include_pad else 0.0)
    ceil_pads = [(0, more) for more in extra]
    sums = _window_sum(pad_spatial(pad_spatial(x, axis_pads), ceil_pads), kernel_shape, strides, dilations)
    counts = _window_sum(pad_spatial(counted, ceil_pads), kernel_shape, strides, dilations)
    return sums / counts


def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    p: int = 2,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    rank = len(kernel_shape)
    strides = list(strides or [1] * rank)
    dilations = list(dilations or [1] * rank)
    window = [(k - 1) * d + 1 for k, d in zip(kernel_shape, dilations, strict=True)]
    axis_pads = resolve_pads(auto_pad, pads, x.shape[2:], window, strides)
    extra = _ceil_extra(x.shape[2:], window, strides, axis_pads) if ceil_mode else [0] * rank
    padded = pad_spatial(pad_spatial(x, axis_pads), [(0, more) for more in extra])
    return _window_sum(padded.abs() ** p, kernel_shape, strides, dilations) ** (1 / p)


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return torch.amax(x, dim=tuple(range(2, x.dim())), keepdim=True)


def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    return (x.abs() ** p).sum(dim=tuple(range(2, x.dim())), keepdim=True) ** (1 / p)


def _ceil_extra(
    sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], pads: AxisPads
) -> list[int]:
    """Padding at the end of each axis that ceil_mode's last, partial window needs.

    A window that would start beyond the input and its begin padding is dropped, as in ONNX and torch.
    """
    extra = []
    for size, extent, stride, (begin, end) in zip(sizes, window, strides, pads, strict=True):
        padded = size + begin + end
        outputs = -(-(padded - extent) // stride) + 1
        if (outputs - 1) * stride >= size + begin:
            outputs -= 1
        extra.append(max((outputs - 1) * stride + extent - padded, 0))
    return extra


def _window_sum(x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Tensor:
    """Sum over each window, channel by channel, as a convolution with ones."""
    channels = x.shape[1]
    ones = torch.ones((channels, 1, *kernel), dtype=x.dtype, device=x.device)
    return _CONV[len(kernel)](x, ones, None, list(strides), 0, list(dilations), channels)


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
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
}
