"""Tap by tap: each is rounded to nearest, and those that follow make up for its error (GPTQ, arXiv 2210.17323).

A pass costs about as much as one gradient step of the relaxation in adaptive. Unlike there, a weight may end further than one
step from its float value.
"""

import torch
from torch import Tensor

from mpq_onnx.rounding.layer import Layer
from mpq_onnx.rounding.quadratic import QuadraticError

TAPS_AT_ONCE = 128
"""What follows learns of their errors together."""


def round_sequentially(layer: Layer, problem: QuadraticError) -> Tensor:
    """The integers [g, o, k] of a layer; NaN in a group whose moments no arithmetic of ours inverts."""
    order = problem.diagonal.argsort(-1, descending=True)
    factor = _cholesky(_ordered(_ordered(problem.moment, order, 2), order, 1))
    best = torch.cholesky_solve(_ordered(problem.target, order, 2).transpose(1, 2), factor).transpose(1, 2)
    spread = _cholesky(torch.cholesky_inverse(factor)).transpose(1, 2)
    ends = (_ordered(each, order, 2) for each in (problem.lowest, problem.highest))
    integers = _rounded(best.contiguous(), spread, layer.zero_point, *ends)
    return torch.empty_like(integers).scatter_(2, order[:, None].expand_as(integers), integers)


def _cholesky(matrices: Tensor) -> Tensor:
    """The lower factor of each; NaN where there is none."""
    factor, failed = torch.linalg.cholesky_ex(matrices)
    return factor.where(failed[:, None, None] == 0, torch.nan)


def _ordered(values: Tensor, order: Tensor, axis: int) -> Tensor:
    index = order[:, :, None] if axis == 1 else order[:, None]
    return values.gather(axis, index.expand_as(values))


def _rounded(best: Tensor, spread: Tensor, zero_point: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """The integers of ordered taps.

    Args:
        best: [g, o, k] what has the least error, in units of the scale; used up.
        spread: [g, k, k] the upper triangle of the inverse moment: how an error is made up for by the taps behind.
        lowest, highest: [g, o, k] ends of the integers.
    """
    taps = best.shape[2]
    integers = torch.empty_like(best)
    for start in range(0, taps, TAPS_AT_ONCE):
        stop = min(start + TAPS_AT_ONCE, taps)
        errors = torch.empty_like(best[..., start:stop])
        for tap in range(start, stop):
            here = slice(tap, tap + 1)
            value = best[..., here]
            chosen = torch.minimum(
                torch.maximum(value.round() + zero_point, lowest[..., here]), highest[..., here]
            )
            integers[..., here] = chosen
            row = spread[:, here, tap:stop]
            error = (value - (chosen - zero_point)) / row[..., :1]
            errors[..., tap - start : tap - start + 1] = error
            best[..., tap:stop] -= error * row
        best[..., stop:] -= errors @ spread[:, start:stop, stop:]
    return integers
