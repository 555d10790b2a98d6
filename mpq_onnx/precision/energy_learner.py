"""Learning the energies: ln(E) of every item by gradient descent through the noise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.noisy_mac import NoisyMirror
from mpq_onnx.precision.items import Items
from mpq_onnx.precision.problem import ENERGIES, Precision


@dataclass(frozen=True)
class EnergyLearner:
    """The mirror with noise of learnable energies."""

    noisy: NoisyMirror
    items: Items
    budget: float
    smallest: float
    """Energy that an item may have; 0 for any above 0."""

    @property
    def mirror(self) -> Mirror:
        """The noisy one."""
        return self.noisy.mirror

    @property
    def generator(self) -> torch.Generator:
        """Of the noise."""
        return self.noisy.generator

    @property
    def parameters(self) -> list[nn.Parameter]:
        """ln of the energies, by node."""
        return [self.noisy.modules[name].log_energy for name in self.items.names]

    def _mean_energy(self) -> Tensor:
        return (torch.cat([*self.parameters]).exp() * self._shares).sum()

    @cached_property
    def _shares(self) -> Tensor:
        """Of the multiply-accumulates, by item."""
        sizes = torch.as_tensor(self.items.sizes, dtype=torch.float32, device=self.parameters[0].device)
        return sizes / sizes.sum()

    def excess(self) -> Tensor:
        """max(0, ln(mean E) - ln(budget)) (arXiv 2102.06365)."""
        return torch.relu(self._mean_energy().log() - math.log(self.budget))

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep the energies at the smallest or above."""
        for parameter in self.parameters if self.smallest else ():
            parameter.clamp_(min=math.log(self.smallest))

    def levels(self) -> Precision:
        """Energies per MAC, float64 [items]."""
        found = {
            name: self.noisy.modules[name].energy_per_mac.detach().cpu().double().numpy()
            for name in self.items.names
        }
        return {ENERGIES: self.items.join(found)}

    def range_factors(self) -> dict[str, float]:
        """None are learned."""
        return {}

    def set_range_factors(self, factors: Mapping[str, float]) -> None:
        """There are none."""

    def describe(self) -> str:
        """What is spent."""
        return f"energy per MAC {float(self._mean_energy().detach()):.4g}"
