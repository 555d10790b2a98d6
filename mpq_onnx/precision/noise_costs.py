"""What noise at each item costs: noise of variance v on a value changes the loss by E[g^2] v / 2 (see fisher)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, fx

from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.noisy_mac import NoisyMac
from mpq_onnx.precision.items import Items
from mpq_onnx.precision.problem import ENERGIES
from mpq_onnx.precision.recorder import Recorder
from mpq_onnx.ranks import Ranks

BATCH_SIZE = 32


class NoiseCosts:
    """A CostMeter; costs are [items, noise models], at unit energy."""

    kind = ENERGIES
    batch_size = BATCH_SIZE

    def __init__(
        self, items: Items, sites: Sequence[MacSite], modules: Mapping[str, NoisyMac], mirror: Mirror
    ) -> None:
        """Args: modules: of the noise, by node. mirror: the noise-free one, which is run."""
        self.items, self.sites, self.modules = items, sites, modules
        self.outputs = [mirror.values[site.output] for site in sites]
        # A shared weight is one value; each node that reads it adds its own noise, and sees the whole gradient.
        self.weights = [mirror.values[site.weight] for site in sites]
        self.watched = [*self.outputs, *self.weights]
        self.readers = self.outputs
        models = len(next(iter(modules.values())).models)
        self.sums = {
            name: torch.zeros(count, models, dtype=torch.float64)
            for name, count in zip(items.names, items.counts, strict=True)
        }

    def update(self, recorder: Recorder, gradients: Mapping[fx.Node, Tensor | None]) -> None:
        """Sum g^2 v."""
        for site, output, weight in zip(self.sites, self.outputs, self.weights, strict=True):
            x, w = recorder.arguments[output][:2]
            sums = self.sums[site.node]
            sums += _costs(self.modules[site.node], x, w, gradients[output], gradients[weight], len(sums))

    def merge(self, ranks: Ranks) -> None:
        """Add what the other ranks took in."""
        self.sums = {name: ranks.sum(sums) for name, sums in self.sums.items()}

    def costs(self, examples: int) -> np.ndarray:
        """Of every item under every noise model."""
        return self.items.join({name: sums.numpy() / examples for name, sums in self.sums.items()})


def _costs(
    module: NoisyMac, x: Tensor, w: Tensor, output: Tensor | None, weight: Tensor | None, count: int
) -> Tensor:
    """sum(g^2 v) by item and noise model, float64 [count, models], on the CPU."""
    total = torch.zeros(count, len(module.models), dtype=torch.float64)
    places = torch.zeros(count, device=x.device, requires_grad=True)  # where each item's noise goes
    geometry = module.geometry
    for index, model in enumerate(module.models):
        if model.output_variance is not None and output is not None:
            squared = geometry.view(output.square(), w) * module.unit_output_variance(model, x, w)
            total[:, index] += _by_item(squared, geometry.over_output(places, w), places)
        if model.weight_variance is not None and weight is not None:
            squared = weight.square() * module.unit_weight_variance(model, x, w)
            total[:, index] += _by_item(squared, geometry.over_weight(places, w), places)
    return total


def _by_item(values: Tensor, spread: Tensor, places: Tensor) -> Tensor:
    """Sums of `values` over what each item is spread on: the transpose of the spreading, so its gradient."""
    (sums,) = torch.autograd.grad(spread.expand_as(values), places, values)
    return sums.double().cpu()
