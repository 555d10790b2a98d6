"""Reductions over axes, and the k largest."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mpq_onnx.mirror.ops.elementwise import square_root

Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reduction(reduce: Reduce) -> Callable[..., Tensor]:
    """An ONNX reduction: axes from the optional input, all axes when it is empty (unless noop_with_empty_axes)."""

    def reduction(
        x: Tensor, axes: Tensor | list[int] | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        # Before opset 18 (13 for ReduceSum) axes are an attribute, hence a list.
        dims = () if axes is None else tuple(axes if isinstance(axes, list) else axes.tolist())
        if not dims:
            if noop_with_empty_axes:
                return reduce(x.unsqueeze(0), (0,), False)
            dims = tuple(range(x.dim()))
        return reduce(x, dims, bool(keepdims)).to(x.dtype)

    return reduction


def _product(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    for dim in sorted((d % x.dim() for d in dims), reverse=True):
        x = torch.prod(x, dim, keepdim=keep)
    return x


def _extreme(extreme: Callable[..., Tensor], of_nothing: float) -> Reduce:
    def reduce(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
        if x.numel() == 0:
            empty = x.sum(dim=dims, keepdim=keep)
            if x.dtype == torch.bool:
                return torch.full_like(empty, of_nothing > 0, dtype=torch.bool)
            return torch.full_like(empty, of_nothing)
        if x.dtype == torch.bool:
            return extreme(x.to(torch.uint8), dim=dims, keepdim=keep).to(torch.bool)
        return extreme(x, dim=dims, keepdim=keep)

    return reduce


REDUCTIONS: dict[str, Reduce] = {
    "ReduceSum": lambda x, dims, keep: x.sum(dim=dims, keepdim=keep),
    "ReduceMean": lambda x, dims, keep: x.mean(dim=dims, keepdim=keep),
    "ReduceMax": _extreme(torch.amax, -math.inf),
    "ReduceMin": _extreme(torch.amin, math.inf),
    "ReduceProd": _product,
    "ReduceL1": lambda x, dims, keep: x.abs().sum(dim=dims, keepdim=keep),
    "ReduceL2": lambda x, dims, keep: square_root((x * x).sum(dim=dims, keepdim=keep)),
    "ReduceSumSquare": lambda x, dims, keep: (x * x).sum(dim=dims, keepdim=keep),
    "ReduceLogSum": lambda x, dims, keep: torch.log(x.sum(dim=dims, keepdim=keep)),
    "ReduceLogSumExp": lambda x, dims, keep: torch.logsumexp(x, dim=dims, keepdim=keep),
}


def argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    if select_last_index:
        return x.shape[axis] - 1 - torch.argmax(x.flip(axis), axis, keepdim=bool(keepdims))
    return torch.argmax(x, axis, keepdim=bool(keepdims))


def argmin(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    return argmax(-x, axis=axis, keepdims=keepdims, select_last_index=select_last_index)


def top_k(
    x: Tensor, k: Tensor, *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, Tensor]:
    """A stable sort: of equal values the lower index comes first, as ONNX asks and torch.topk does not promise."""
    values, indices = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    count = int(k)
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


OPS: dict[str, Callable[..., Any]] = {
    **{name: _reduction(reduce) for name, reduce in REDUCTIONS.items()},
    "ArgMax": argmax,
    "ArgMin": argmin,
    "TopK": top_k,
}
