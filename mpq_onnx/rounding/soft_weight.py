"""A weight between floor and ceiling, by a rectified sigmoid of what is learned."""

import torch
from torch import Tensor, nn

from mpq_onnx.arithmetic.weights import QuantizedWeight, along_axis
from mpq_onnx.rounding.rectified_sigmoid import logits_of, stretched

FIRST_ROUNDING = 0.9
"""Share of the first rounding in where a weight starts; the rest is its float position. Few steps do not find again what the
layers' second moments say; much of it is right."""
OPEN = 0.01
"""Distance from floor and ceiling that a weight starts at, at least: the sigmoid is flat there."""


class SoftWeight(nn.Module):
    """Rounded for sure in the end, shares of floor and ceiling meanwhile."""

    def __init__(self, weight: Tensor, rounded: QuantizedWeight) -> None:
        """Args: rounded: where to start, and the grid."""
        super().__init__()
        shape = along_axis(weight.dim(), rounded.channel_axis)
        grid = rounded.grid
        self.scale, self.zero_point, levels = (
            torch.from_numpy(each).reshape(shape).to(weight)
            for each in (grid.scale, grid.zero_point, grid.levels)
        )
        integers = torch.from_numpy(rounded.integers).to(weight)
        position = weight / self.scale + self.zero_point
        floor = torch.minimum(torch.floor(position).clamp(min=0), (levels - 2).clamp(min=0))
        # What was rounded stays within reach, also where its scale was changed afterwards.
        self.floor = torch.maximum(torch.minimum(floor, integers), integers - 1)
        self.step = torch.minimum(self.floor + 1, levels - 1) - self.floor
        share = FIRST_ROUNDING * (integers - self.floor) + (1 - FIRST_ROUNDING) * (
            position - self.floor
        ).clamp(0, 1)
        self.logits = nn.Parameter(logits_of(share.clamp(OPEN, 1 - OPEN)))

    def share(self) -> Tensor:
        """0 for floor to 1 for ceiling."""
        return stretched(torch.sigmoid(self.logits)).clamp(0, 1)

    def values(self, share: Tensor) -> Tensor:
        """The weight for shares of the ceiling."""
        return (self.floor + self.step * share - self.zero_point) * self.scale

    @torch.no_grad()
    def integers(self) -> Tensor:
        """The nearer of floor and ceiling."""
        return self.floor + self.step * (self.share() > 0.5)
