"""Rounding "adaptive": up or down, whichever serves the layer's output (AdaRound, arXiv 2004.10568).

Minimises the layer's output error over the choice of floor or ceiling for every weight. The continuous relaxation of the
paper (rectified sigmoid, annealed regulariser) runs on the layer's second moments instead of on batches of data, so that a
step costs the same for any amount of data. From there, single weights are flipped, the best first, until no flip helps.
"""

import torch
from torch import Tensor

from mpq_onnx.arithmetic.quantization import quantize
from mpq_onnx.rounding.layer import Layer, Moments, RoundingMethod
from mpq_onnx.rounding.rectified_sigmoid import STRETCH_HIGH, STRETCH_LOW, logits_of, stretched

STEPS, LEARNING_RATE = 60, 0.2
FEW_STEPS, FAST_LEARNING_RATE = 25, 0.3
MANY_TAPS = 1024
"""From there on few steps are taken: one costs taps^2."""
REGULARISER = 0.06
BETA_START, BETA_END = 20.0, 2.0
WARM_UP = 0.2
"""Share of the steps before the regulariser sets in."""
SMALLEST_GAIN = 1e-6
"""Of a flip, in units of a tap's second moment: less is lost in the arithmetic of the gradient."""
FLIPS_PER_TAP = 4
"""Of an output channel, at most; all ended long before."""


class AdaptiveRounding(RoundingMethod):
    needs_moments = True

    def __call__(self, layer: Layer, moments: Moments | None) -> Tensor:
        assert moments is not None
        nearest = quantize(layer.weight, layer.scale, layer.zero_point, layer.levels)
        position = layer.weight / layer.scale + layer.zero_point
        floor = torch.minimum(torch.clamp(torch.floor(position), min=0), (layer.levels - 2).clamp(min=0))
        ceiling = torch.minimum(floor + 1, layer.levels - 1)
        problem = _Problem(layer, moments)
        relaxed = floor + (ceiling - floor) * _relax(problem, floor, ceiling, position)
        candidates = torch.stack([nearest, relaxed])
        errors = torch.stack([problem.error(candidate) for candidate in candidates])
        best = torch.where(errors[1] < errors[0], relaxed, nearest)
        return _flip(problem, best, floor, ceiling)


ADAPTIVE = AdaptiveRounding()


class _Problem:
    """The quadratic error of every output channel, in units of that channel's scale."""

    def __init__(self, layer: Layer, moments: Moments) -> None:
        self.zero_point = layer.zero_point
        self.moment = moments.quantized
        # d error / d integers = 2 (q A - target)
        self.target = (layer.weight / layer.scale) @ moments.cross.transpose(1, 2)

    def gradient(self, integers: Tensor) -> Tensor:
        """Half the gradient of the error, [g, o, k]."""
        return (integers - self.zero_point) @ self.moment - self.target

    def error(self, integers: Tensor) -> Tensor:
        """The error up to a constant, [g, o, 1]."""
        q = integers - self.zero_point
        return ((q @ self.moment - 2 * self.target) * q).sum(-1, keepdim=True)


def _relax(problem: _Problem, floor: Tensor, ceiling: Tensor, position: Tensor) -> Tensor:
    """The paper's relaxation: 0 or 1 for floor or ceiling."""
    share = (position - floor).clamp(0.01, 0.99)
    logits = logits_of(share).requires_grad_()
    step = ceiling - floor
    # Errors are compared with what nearest rounding leaves at random: 1/12 of each tap's second moment.
    unit = problem.moment.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None] / 12 + 1e-12
    taps = floor.shape[-1]
    steps, learning_rate = (STEPS, LEARNING_RATE) if taps < MANY_TAPS else (FEW_STEPS, FAST_LEARNING_RATE)
    optimizer = torch.optim.Adam([logits], lr=learning_rate, fused=True)
    for iteration in range(steps):
        progress = iteration / steps
        with torch.no_grad():
            sigmoid = torch.sigmoid(logits)
            raw = stretched(sigmoid)
            h = raw.clamp(0, 1)
            open_ = ((raw > 0) & (raw < 1)).to(h.dtype)
            slope = problem.gradient(floor + step * h) * step * 2 * taps / unit
            if progress > WARM_UP:
                beta = BETA_END + (BETA_START - BETA_END) * (1 - (progress - WARM_UP) / (1 - WARM_UP))
                centred = 2 * h - 1
                slope = slope - REGULARISER * taps * 2 * beta * centred.sign() * centred.abs() ** (beta - 1)
            logits.grad = slope * open_ * sigmoid * (1 - sigmoid) * (STRETCH_HIGH - STRETCH_LOW)
        optimizer.step()
    with torch.no_grad():
        return (torch.sigmoid(logits) > 0.5).to(floor.dtype)


def _flip(problem: _Problem, integers: Tensor, floor: Tensor, ceiling: Tensor) -> Tensor:
    """Steepest descent: in every output channel at once, flip the weight that lowers the error most."""
    integers = integers.clone()
    step = floor + ceiling - 2 * integers
    gradient = problem.gradient(integers)
    diagonal = problem.moment.diagonal(dim1=1, dim2=2)[:, None]
    groups = torch.arange(len(integers), device=integers.device)[:, None]
    least = -SMALLEST_GAIN * diagonal.mean()
    for _ in range(FLIPS_PER_TAP * integers.shape[-1]):
        change, tap = (step * (2 * gradient + step * diagonal)).min(-1, keepdim=True)
        flip = step.gather(-1, tap) * (change < least)
        if not bool(flip.any()):
            break
        integers.scatter_add_(-1, tap, flip)
        step.scatter_add_(-1, tap, -2 * flip)
        gradient += flip * problem.moment[groups, tap.squeeze(-1)]
    return integers
