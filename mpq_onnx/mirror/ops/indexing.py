"""Ops that pick or place elements by index; negative indices count from the end."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    size = x.shape[axis]
    flat = indices.reshape(-1).to(torch.int64) % size
    axis %= x.dim()
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return torch.gather(x, axis, indices.to(torch.int64) % x.shape[axis])


def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    batch = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    picks = indices.to(torch.int64).reshape(rows.shape[0], -1, indices.shape[-1])
    sample = torch.arange(rows.shape[0], device=x.device).unsqueeze(1)
    index = (sample, *(picks[..., i] for i in range(picks.shape[-1])))
    result = rows[index]
    return result.reshape([*batch, *indices.shape[batch_dims:-1], *result.shape[2:]])


def scatter_elements(
    x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    positions = indices.to(torch.int64) % x.shape[axis]
    if reduction == "none":
        return x.scatter(axis, positions, updates)
    return x.scatter_reduce(axis, positions, updates, _REDUCTIONS[reduction])


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """Places slices of `updates` at flat positions; several updates of one place are reduced."""
    depth = indices.shape[-1]
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for i in range(depth):
        flat = flat * x.shape[i] + indices[..., i].to(torch.int64) % x.shape[i]
    rows = x.reshape(-1, *x.shape[depth:])
    source = updates.reshape(-1, *x.shape[depth:])
    positions = flat.reshape(-1, *[1] * (rows.dim() - 1)).expand_as(source)
    return scatter_elements(rows, positions, source, axis=0, reduction=reduction).reshape(x.shape)


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def one_hot(indices: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    count = int(depth)
    axis = axis % (indices.dim() + 1)
    hot = (indices.to(torch.int64) % count).unsqueeze(axis)
    # Indices outside [-depth, depth) light nothing.
    inside = ((indices >= -count) & (indices < count)).unsqueeze(axis)
    classes = torch.arange(count, device=indices.device).reshape(
        [count if i == axis else 1 for i in range(hot.dim())]
    )
    return torch.where((hot == classes) & inside, values[1], values[0])


def non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x).t()


def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """The first `lengths` steps of every sequence backwards, the rest as it is."""
    steps = torch.arange(x.shape[time_axis], device=x.device).unsqueeze(1)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)  # [time, batch]
    places = places if time_axis < batch_axis else places.t()
    shape = [x.shape[axis] if axis in (batch_axis, time_axis) else 1 for axis in range(x.dim())]
    return torch.gather(x, time_axis, places.reshape(shape).expand_as(x))


def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    source = x.reshape(-1) if axis is None else x
    return source.index_select(axis or 0, torch.nonzero(condition).reshape(-1))


OPS: dict[str, Callable[..., Any]] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
    "NonZero": non_zero,
    "ReverseSequence": reverse_sequence,
    "Compress": compress,
}
