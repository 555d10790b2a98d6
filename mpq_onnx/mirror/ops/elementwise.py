"""Arithmetic, element by element, with numpy-style broadcasting."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def div(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(a: Tensor, b: Tensor) -> Tensor:
    """A root's slope at 0 is endless: none goes back from there."""
    if not a.requires_grad:
        return torch.pow(a, b).to(a.dtype)
    is_end = (a == 0) & (b < 1)
    inner = torch.pow(torch.where(is_end, 1, a), b)
    return torch.where(is_end, torch.pow(a, b).detach(), inner).to(a.dtype)


def square_root(x: Tensor) -> Tensor:
    """As power."""
    if not x.requires_grad:
        return torch.sqrt(x)
    return torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, 1)), torch.sqrt(x).detach())


def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


def maximum(*tensors: Tensor) -> Tensor:
    return functools.reduce(torch.maximum, tensors)


def minimum(*tensors: Tensor) -> Tensor:
    return functools.reduce(torch.minimum, tensors)


def total(*tensors: Tensor) -> Tensor:
    return functools.reduce(torch.add, tensors)


def mean(*tensors: Tensor) -> Tensor:
    return total(*tensors) / len(tensors)


def cumulative_sum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    dim = int(axis)
    if reverse:
        x = x.flip(dim)
    result = torch.cumsum(x, dim, dtype=x.dtype)
    if exclusive:
        result = result - x
    return result.flip(dim) if reverse else result


OPS: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": div,
    "Pow": power,
    "Mod": mod,
    "Max": maximum,
    "Min": minimum,
    "Sum": total,
    "Mean": mean,
    "CumSum": cumulative_sum,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Sign": torch.sign,
    "Sqrt": square_root,
    "Exp": torch.exp,
    "Log": torch.log,
    "Erf": torch.erf,
    "Reciprocal": torch.reciprocal,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Asin": torch.asin,
    "Acos": torch.acos,
    "Atan": torch.atan,
    "Sinh": torch.sinh,
    "Cosh": torch.cosh,
    "Tanh": torch.tanh,
    "Asinh": torch.asinh,
    "Acosh": torch.acosh,
    "Atanh": torch.atanh,
}
