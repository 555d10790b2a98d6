"""Every multiply-accumulate node with a constant weight as one batched matrix product.

y[n, g, o, l] = sum_k weight[g, o, k] * patches[n, g, k, l]: n example, g group, o output channel of the group, k tap of the
receptive field, l output position. Second moments of the patches and per-example weight gradients need just this form.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mpq_onnx.mirror.ops.sliding_window import AxisPads, pad_spatial, sliding_window
from mpq_onnx.placement import WeightSite


def input_patches(op_type: str, x: Tensor, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """The node's input as patches [n, g, k, l]."""
    if op_type == "Conv":
        return _conv_patches(x, weight, attributes)
    if op_type == "ConvTranspose":
        return _conv_transpose_patches(x, weight, attributes)
    if op_type == "Gemm":
        return (attributes.get("alpha", 1.0) * x)[:, None, :, None]
    return (
        x.reshape(x.shape[0], -1, x.shape[-1]).transpose(1, 2).unsqueeze(1)
    )  # MatMul by a matrix on the right


def weight_matrix(op_type: str, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """The node's weight as [g, o, k]."""
    groups = attributes.get("group", 1)
    if op_type == "Conv":
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    if op_type == "ConvTranspose":
        kernel = weight.flip(list(range(2, weight.dim())))
        split = kernel.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        return split.transpose(1, 2).reshape(groups, weight.shape[1], -1)
    return (weight if _rows_are_channels(op_type, attributes) else weight.t()).unsqueeze(0)


def weight_from_matrix(op_type: str, matrix: Tensor, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """Inverse of weight_matrix; `weight` gives the shape."""
    if op_type == "Conv":
        return matrix.reshape(weight.shape)
    if op_type == "ConvTranspose":
        groups = attributes.get("group", 1)
        split = matrix.reshape(groups, weight.shape[1], weight.shape[0] // groups, *weight.shape[2:])
        return split.transpose(1, 2).reshape(weight.shape).flip(list(range(2, weight.dim())))
    return matrix[0] if _rows_are_channels(op_type, attributes) else matrix[0].t()


def output_matrix(op_type: str, y: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """The node's output (or its gradient) as [n, g, o, l]."""
    if op_type in ("Conv", "ConvTranspose"):
        groups = attributes.get("group", 1)
        return y.reshape(y.shape[0], groups, y.shape[1] // groups, -1)
    return y.reshape(y.shape[0], -1, y.shape[-1]).transpose(1, 2).unsqueeze(1)


def supports(site: WeightSite, attributes: Mapping[str, Any]) -> bool:
    """False for a constant left factor of MatMul or Gemm, a transposed Gemm input, and sizes that ConvTranspose derives."""
    if site.op_type == "ConvTranspose":
        return not attributes.get("output_shape") and attributes.get("auto_pad", "NOTSET") == "NOTSET"
    if site.op_type in ("Gemm", "MatMul"):
        columns = 0 if attributes.get("transB", 0) else 1
        return site.channel_axis == columns and not attributes.get("transA", 0)
    return site.op_type == "Conv"


def _rows_are_channels(op_type: str, attributes: Mapping[str, Any]) -> bool:
    return op_type == "Gemm" and bool(attributes.get("transB", 0))


def _conv_patches(x: Tensor, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    window = sliding_window(x.shape[2:], weight.shape[2:], attributes)
    return _unfold(
        window.pad(x), window.extents, window.strides, window.dilations, attributes.get("group", 1)
    )


def _conv_transpose_patches(x: Tensor, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """A transposed convolution is a convolution of the input with zeros between its elements."""
    window = sliding_window(x.shape[2:], weight.shape[2:], attributes)
    rank = len(window.kernel)
    extra = attributes.get("output_padding") or [0] * rank
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], window.strides, strict=True)]
    spread = x.new_zeros(*x.shape[:2], *sizes)
    spread[_every(window.strides)] = x
    around: AxisPads = [
        (extent - 1 - begin, extent - 1 - end + more)
        for extent, (begin, end), more in zip(window.extents, window.pads, extra, strict=True)
    ]
    return _unfold(
        pad_spatial(spread, around), window.extents, [1] * rank, window.dilations, attributes.get("group", 1)
    )


def _every(steps: list[int]) -> Any:
    """An index that takes every so manieth element along each of the last axes."""
    return (Ellipsis, *(slice(None, None, step) for step in steps))


def _unfold(x: Tensor, window: list[int], strides: list[int], dilations: list[int], groups: int) -> Tensor:
    rank = len(window)
    for axis, (extent, stride) in enumerate(zip(window, strides, strict=True)):
        x = x.unfold(2 + axis, extent, stride)
    x = x[_every(dilations)]  # n, c, *positions, *kernel
    n, channels = x.shape[:2]
    positions, kernel = x.shape[2 : 2 + rank], x.shape[2 + rank :]
    order = [0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank)]
    taps = channels // groups * math.prod(kernel)
    return x.permute(order).reshape(n, groups, taps, math.prod(positions))


def second_moment(left: Tensor, right: Tensor) -> Tensor:
    """sum over examples and positions of left right^T: [g, k, k] from two patches [n, g, k, l]."""
    return torch.einsum("ngkl,ngml->gkm", left, right)
