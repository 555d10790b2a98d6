"""Ops that sample an image at computed places."""

from collections.abc import Callable
from typing import Any

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


OPS: dict[str, Callable[..., Any]] = {"GridSample": grid_sample, "AffineGrid": affine_grid}
"""torch's own definitions, which ONNX took over."""
