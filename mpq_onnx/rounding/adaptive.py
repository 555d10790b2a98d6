"""Rounding "adaptive": up or down, whichever serves the layer's output (AdaRound, arXiv 2004.10568).

Minimises the layer's output error over the choice of floor or ceiling for every weight. The continuous relaxation of the
paper (rectified sigmoid, annealed regulariser) runs on the layer's second moments instead of on batches of data, so that a
step costs the same for any amount of data; single flips that still help are then made greedily.
"""

import torch
from torch import Tensor

from mpq_onnx.quantization import quantize
from mpq_onnx.rounding.layer import Layer, Moments

STEPS = 600
LEARNING_RATE = 0.02
REGULARISER = 0.02
STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
"""The rectified sigmoid's zeta and gamma (equation 23 of the paper)."""
BETA_START, BETA_END = 20.0, 2.0
WARM_UP = 0.2
"""Share of the steps before the regulariser sets in."""
FLIP_SWEEPS = 20


class AdaptiveRounding:
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
    stretched = (share - STRETCH_LOW) / (STRETCH_HIGH - STRETCH_LOW)
    logits = torch.log(stretched / (1 - stretched)).requires_grad_()
    step = ceiling - floor
    # Errors are compared with what nearest rounding leaves at random: 1/12 of each tap's second moment.
    unit = problem.moment.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None] / 12 + 1e-12
    optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
    taps = floor.shape[-1]
    for iteration in range(STEPS):
        progress = iteration / STEPS
        with torch.no_grad():
            sigmoid = torch.sigmoid(logits)
            raw = sigmoid * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW
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
    """Coordinate descent: tap by tap, every output channel at once, flip where the error falls."""
    integers = integers.clone()
    gradient = problem.gradient(integers)
    diagonal = problem.moment.diagonal(dim1=1, dim2=2)
    for _ in range(FLIP_SWEEPS):
        changed = False
        for tap in range(integers.shape[-1]):
            current = integers[..., tap]
            other = floor[..., tap] + ceiling[..., tap] - current
            step = other - current
            gain = 2 * step * gradient[..., tap] + step**2 * diagonal[:, tap, None]
            step = torch.where(gain < 0, step, torch.zeros_like(step))
            if bool(step.any()):
                changed = True
                integers[..., tap] += step
                gradient += step[..., None] * problem.moment[:, tap, None, :]
        if not changed:
            break
    return integers
