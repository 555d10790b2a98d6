"""Ops that rearrange a tensor without computing on its values."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = shape.tolist()
    if not allowzero:
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    rows = 1
    for size in x.shape[: axis if axis >= 0 else axis + x.dim()]:
        rows *= size
    return x.reshape(rows, -1)


def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(list(perm) if perm is not None else list(range(x.dim()))[::-1])


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Raises ValueError for an axis of another length than 1, which torch would leave."""
    if axes is None:
        return x.squeeze()
    places = axes.reshape(-1).tolist()
    lengths = [x.shape[axis] for axis in places]
    if any(length != 1 for length in lengths):
        raise ValueError(f"axes of lengths {lengths} cannot be squeezed")
    return x.squeeze(tuple(places))


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.dim() + axes.numel()
    for axis in sorted(a % rank for a in axes.reshape(-1).tolist()):
        x = x.unsqueeze(axis)
    return x


def concat(*tensors: Tensor, axis: int) -> Tensor:
    return torch.cat(tensors, dim=axis)


def split(
    x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int | None = None
) -> tuple[Tensor, ...]:
    if sizes is not None:
        return torch.split(x, sizes.tolist(), dim=axis)
    assert num_outputs is not None
    chunk = -(-x.shape[axis] // num_outputs)
    return torch.split(x, chunk, dim=axis)


def slice_(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    dims = axes.tolist() if axes is not None else list(range(starts.numel()))
    strides = steps.tolist() if steps is not None else [1] * len(dims)
    for dim, start, end, step in zip(dims, starts.tolist(), ends.tolist(), strides, strict=True):
        positions = range(x.shape[dim])[_bounded_slice(start, end, step, x.shape[dim])]
        if step > 0:
            index = [slice(None)] * x.dim()
            index[dim] = slice(positions.start, positions.stop, step)
            x = x[tuple(index)]
        else:  # torch has no negative steps
            x = x.index_select(dim, torch.tensor(list(positions), dtype=torch.int64, device=x.device))
    return x


def _bounded_slice(start: int, end: int, step: int, size: int) -> slice:
    """ONNX's slice as Python's: an end below -size means "through index 0" when walking backwards."""
    if step < 0 and end < -size:
        return slice(start, None, step)
    return slice(start, end, step)


def expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(x.shape, tuple(shape.tolist())))  # torch's own takes far longer


def tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


def pad(
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    dims = [a % x.dim() for a in axes.tolist()] if axes is not None else list(range(x.dim()))
    amounts = pads.tolist()
    begins, ends = amounts[: len(dims)], amounts[len(dims) :]
    if mode == "constant":
        flat = [0] * (2 * x.dim())
        for dim, begin, end in zip(dims, begins, ends, strict=True):
            flat[2 * (x.dim() - 1 - dim)], flat[2 * (x.dim() - 1 - dim) + 1] = begin, end
        return F.pad(x, flat, value=0 if value is None else value.item())
    for dim, begin, end in zip(dims, begins, ends, strict=True):
        x = x.index_select(dim, _padded_positions(x, dim, begin, end, mode))
    return x


def _padded_positions(x: Tensor, dim: int, begin: int, end: int, mode: str) -> Tensor:
    """Source index of every output position along `dim`."""
    size = x.shape[dim]
    positions = torch.arange(-begin, size + end, device=x.device)
    if mode == "edge":
        return positions.clamp(0, size - 1)
    if mode == "wrap":
        return positions % size
    period = max(2 * (size - 1), 1)  # reflect
    folded = positions % period
    return torch.minimum(folded, period - folded)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    b, out = blocksize, c // blocksize**2
    if mode == "DCR":
        x = x.reshape(n, b, b, out, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, out, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, out, h * b, w * b)


def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    x = x.reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.permute(*order).reshape(n, c * b * b, h // b, w // b)


def trilu(x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


OPS: dict[str, Callable[..., Any]] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Trilu": trilu,
}
