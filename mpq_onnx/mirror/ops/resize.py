"""Resize: every axis is resampled by a small matrix, so that one code serves nearest, linear and cubic.

Scales and coordinates are float32, step by step as onnxruntime has them: 8 / 1.6 is 5 there, and less than 5 in float64.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

HALFWAY = 1e-6
"""From the middle between two pixels: so near it is the middle to onnxruntime, whose divisions are inexact."""


def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    dims = [a % x.dim() for a in axes] if axes is not None else list(range(x.dim()))
    factors, lengths = _factors_and_lengths(
        [x.shape[d] for d in dims], scales, sizes, keep_aspect_ratio_policy
    )
    if lengths == [x.shape[d] for d in dims]:
        return x  # whatever the factors and the crop, to onnxruntime
    regions = roi.tolist() if roi is not None and roi.numel() else [0.0] * len(dims) + [1.0] * len(dims)
    outside = torch.zeros((), dtype=torch.bool, device=x.device)
    for position, dim in enumerate(dims):
        size, length, factor = x.shape[dim], lengths[position], factors[position]
        region = (regions[position], regions[position + len(dims)])
        if factor == 1.0:
            continue  # onnxruntime takes such an axis as it is, crops too
        source = _source_coordinates(length, size, factor, coordinate_transformation_mode, region)
        if mode == "nearest":
            index = _nearest(source, nearest_mode).clamp(0, size - 1).to(torch.int64)
            x = x.index_select(dim, index.to(x.device))
        elif not antialias or length != size:  # antialiasing leaves an axis whose length stays
            stretch = max(1.0, 1.0 / float(factor)) if antialias else 1.0
            matrix = _weights(source, size, mode, cubic_coeff_a, bool(exclude_outside), stretch)
            x = torch.movedim(torch.movedim(x, dim, -1) @ matrix.to(x.device, x.dtype).t(), -1, dim)
        if coordinate_transformation_mode == "tf_crop_and_resize":
            beyond = (source < 0) | (source > size - 1)
            outside = outside | beyond.to(x.device).reshape([-1 if d == dim else 1 for d in range(x.dim())])
    if coordinate_transformation_mode == "tf_crop_and_resize":
        return torch.where(outside, torch.full_like(x, extrapolation_value), x)
    return x


def _factors_and_lengths(
    inputs: list[int], scales: Tensor | None, sizes: Tensor | None, policy: str
) -> tuple[Tensor, list[int]]:
    """Scale factor (float32) and output length of each resized axis."""
    taken = torch.tensor(inputs, dtype=torch.float32)
    if scales is not None and scales.numel():
        factors = scales.detach().to("cpu", torch.float32)
        return factors, torch.floor(taken * factors).to(torch.int64).tolist()
    assert sizes is not None
    asked = sizes.to("cpu", torch.int64)
    factors = asked.to(torch.float32) / taken
    if policy == "stretch":
        return factors, asked.tolist()
    common = factors.min() if policy == "not_larger" else factors.max()
    return common.expand(len(inputs)), torch.floor(taken * common + 0.5).to(torch.int64).tolist()


def _source_coordinates(
    length: int, size: int, factor: Tensor, mode: str, region: tuple[float, float]
) -> Tensor:
    """Where each output position lies in the input (coordinate_transformation_mode of the ONNX specification)."""
    out = torch.arange(length, dtype=torch.float32)
    if mode == "asymmetric":
        return out / factor
    if mode == "half_pixel":
        return (out + 0.5) / factor - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = (
            torch.tensor(float(length)) / (factor * size)
        ).double()  # this mode alone goes on in float64
        return (size / 2 * (1 - adjustment) + (out.double() + 0.5) / factor.double() - 0.5).float()
    if mode == "pytorch_half_pixel":
        return (out + 0.5) / factor - 0.5 if length > 1 else torch.zeros_like(out)
    if mode == "align_corners":
        # The specification divides by the unrounded output length; onnxruntime and torch put the last pixel on the last one.
        return out * (size - 1) / (length - 1) if length > 1 else torch.zeros_like(out)
    if mode == "tf_crop_and_resize":
        start, end = torch.tensor(region, dtype=torch.float32)
        if length > 1:
            return start * (size - 1) + out * (end - start) * (size - 1) / (length - 1)
        return 0.5 * (start + end).expand(length) * (size - 1)
    raise NotImplementedError(f"Resize with coordinate_transformation_mode {mode}")


def _nearest(source: Tensor, mode: str) -> Tensor:
    if mode == "floor":
        return torch.floor(source)
    if mode == "ceil":
        return torch.ceil(source)
    below = torch.floor(source.double())
    part = source - below  # exact
    halfway = (part - 0.5).abs() < HALFWAY
    up = halfway if mode == "round_prefer_ceil" else torch.zeros_like(halfway)
    return below + torch.where(halfway, up, part > 0.5)


def _weights(
    source: Tensor, size: int, mode: str, coefficient: float, exclude_outside: bool, stretch: float
) -> Tensor:
    """The [output, input] interpolation matrix; taps beyond the edge go to the edge, or are dropped."""
    radius = math.ceil((1 if mode == "linear" else 2) * stretch)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.floor(source).unsqueeze(1) + offsets
    distance = (source.unsqueeze(1) - taps).abs() / stretch
    values = _linear_kernel(distance) if mode == "linear" else _cubic_kernel(distance, coefficient)
    if exclude_outside:
        values = torch.where((taps >= 0) & (taps < size), values, torch.zeros_like(values))
    values = values / values.sum(dim=1, keepdim=True)
    matrix = torch.zeros(len(source), size, dtype=torch.float64)
    return matrix.scatter_add(1, taps.clamp(0, size - 1).to(torch.int64), values)


def _linear_kernel(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic_kernel(d: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel with parameter `a`."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


OPS: dict[str, Callable[..., Any]] = {"Resize": resize}
