"""Which allowed width stands for a learned one in the forward pass; a rule is one function and one line in
registries.WIDTH_CHOICES."""

from collections.abc import Callable

import torch
from torch import Tensor

WidthChoice = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(learned widths, allowed widths [choices] ascending, generator) -> index of the chosen one, in the learned ones' shape."""


def nearest(bits: Tensor, widths: Tensor, generator: torch.Generator) -> Tensor:
    """The allowed width that is nearest."""
    return (bits.unsqueeze(-1) - widths).abs().argmin(-1)


def stochastic(bits: Tensor, widths: Tensor, generator: torch.Generator) -> Tensor:
    """One of the two neighbours, drawn so that the mean is the learned width."""
    upper = torch.searchsorted(widths, bits.contiguous()).clamp(1, max(len(widths) - 1, 1))
    if len(widths) == 1:
        return torch.zeros_like(upper)
    low, high = widths[upper - 1], widths[upper]
    share = (bits - low) / (high - low)
    drawn = torch.rand(bits.shape, generator=generator).to(bits)
    return torch.where(drawn < share, upper, upper - 1)
