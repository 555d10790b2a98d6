"""Tensors made from shapes and scalars, and type conversion."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mpq_onnx.mirror.dtypes import torch_dtype


def constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    fill = torch.zeros(1) if value is None else value
    return fill.reshape(()).expand(shape.tolist()).clone().to(shape.device)


def arange(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype, device=start.device)


def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(list(x.shape)[slice(start, end)], dtype=torch.int64, device=x.device)


def size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(torch_dtype(to))


def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    return x.to(like.dtype)


def identity(x: Tensor) -> Tensor:
    return x


def dropout(
    x: Tensor, ratio: Tensor | None = None, training_mode: Tensor | None = None, *, seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """Inference: the identity and a mask of ones."""
    return x, torch.ones_like(x, dtype=torch.bool)


def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    rows, columns = (torch.arange(size, device=x.device) for size in x.shape)
    ones = columns.unsqueeze(0) == rows.unsqueeze(1) + k
    return ones.to(x.dtype if dtype is None else torch_dtype(dtype))


OPS: dict[str, Callable[..., Any]] = {
    "ConstantOfShape": constant_of_shape,
    "Range": arange,
    "Shape": shape,
    "Size": size,
    "Cast": cast,
    "CastLike": cast_like,
    "EyeLike": eye_like,
    "Identity": identity,
    "Dropout": dropout,
}
