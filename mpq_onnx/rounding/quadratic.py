"""The error of a layer's output as a quadratic function of its integers, and the integers that it may have."""

import torch
from torch import Tensor

from mpq_onnx.rounding.layer import Layer, Moments

FREE_LEVELS = 128
"""With more of them a weight is rounded down or up, no further: scales of 8 bits keep integer kernels from saturating (see
arithmetic.saturation) by what is so near."""


class QuadraticError:
    """Of every output channel, in units of that channel's scale."""

    def __init__(self, layer: Layer, moments: Moments) -> None:
        self.zero_point = layer.zero_point
        floor = torch.floor(layer.weight / layer.scale + layer.zero_point)
        free, last = layer.levels <= FREE_LEVELS, layer.levels - 1
        self.lowest = torch.where(free, 0, torch.minimum(floor.clamp(min=0), last))
        """[g, o, k]: of the integers; `highest` too."""
        self.highest = torch.where(free, last, torch.minimum((floor + 1).clamp(min=0), last))
        self.moment = moments.quantized
        # d error / d integers = 2 (q A - target)
        self.target = (layer.weight / layer.scale) @ moments.cross.transpose(1, 2)

    @property
    def diagonal(self) -> Tensor:
        """Of the second moments, [g, k]."""
        return self.moment.diagonal(dim1=1, dim2=2)

    def gradient(self, integers: Tensor) -> Tensor:
        """Half the gradient of the error, [g, o, k]."""
        return (integers - self.zero_point) @ self.moment - self.target

    def error(self, integers: Tensor) -> Tensor:
        """The error up to a constant, [g, o, 1]."""
        q = integers - self.zero_point
        return ((q @ self.moment - 2 * self.target) * q).sum(-1, keepdim=True)
