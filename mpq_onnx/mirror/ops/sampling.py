"""Ops that sample an image at computed places."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MODES = {
    "linear": "bilinear",
    "bilinear": "bilinear",
    "nearest": "nearest",
    "cubic": "bicubic",
    "bicubic": "bicubic",
}
"""ONNX's names, of this and earlier operator sets, as torch has them."""


def grid_sample(
    x: Tensor, grid: Tensor, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> Tensor:
    return F.grid_sample(x, grid, MODES[mode], padding_mode, bool(align_corners))


def affine_grid(theta: Tensor, size: Tensor, *, align_corners: int = 0) -> Tensor:
    return F.affine_grid(theta, [int(each) for each in size], bool(align_corners))


def roi_align(
    x: Tensor,
    boxes: Tensor,
    images: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """The mean of samples in each cell of each box of x[images]."""
    from torchvision import ops  # late: it takes a second to load

    if mode != "avg":
        raise NotImplementedError(f"RoiAlign with mode {mode}")
    rows = torch.cat([images[:, None].to(boxes.dtype), boxes], 1)
    aligned = coordinate_transformation_mode == "half_pixel"
    size = (output_height, output_width)
    return ops.roi_align(x, rows, size, spatial_scale, sampling_ratio, aligned)  # type: ignore[no-any-return]


OPS: dict[str, Callable[..., Any]] = {
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "RoiAlign": roi_align,
}
"""The definitions of torch and torchvision, which ONNX took over."""
