"""What noise at each item costs the task at unit energy, to second order, from the gradients of a few hundred examples.

Noise of variance v on a value changes the loss by E[g^2] v / 2, with g the gradient of one example's log-likelihood, its
label drawn from the model's own prediction (Fisher information). Every noise model's variance falls as 1 / E, so that an item's
cost at energy E is its cost here over E.
"""

import numpy as np
import torch
from torch import Tensor

from mpq_onnx.allocators.likelihood import sampled_likelihood
from mpq_onnx.allocators.recorder import Recorder
from mpq_onnx.energy_allocators.problem import EnergyProblem
from mpq_onnx.mirror.noisy_mac import NoisyMac
from mpq_onnx.progress import begin

EXAMPLES = 512
BATCH_SIZE = 32


def measure_costs(problem: EnergyProblem) -> np.ndarray:
    """Expected increase of the loss (up to a common factor) by item at E = 1, float64 [items]."""
    begin("costs of noise")
    generator = torch.Generator().manual_seed(problem.training.seed)
    items = problem.items
    modules = problem.noisy(np.ones(len(items.sizes))).modules
    costs = {
        name: torch.zeros(count, dtype=torch.float64)
        for name, count in zip(items.names, items.counts, strict=True)
    }
    outputs = [problem.mirror.values[site.output] for site in problem.sites]
    # A shared weight is one value; each node that reads it adds its own noise, and sees the whole gradient.
    weights = [problem.mirror.values[site.weight] for site in problem.sites]
    examples = min(EXAMPLES, len(problem.data))
    for batch in problem.data.batches(BATCH_SIZE, examples):
        recorder = Recorder(problem.mirror, [*outputs, *weights], set(outputs))
        outputs_found = batch.by_example(recorder.run_batch(batch.inputs))
        likelihood = sampled_likelihood(outputs_found, batch, generator)
        watched = list(dict.fromkeys([*outputs, *weights]))
        found = torch.autograd.grad(
            likelihood, [recorder.values[node] for node in watched], allow_unused=True
        )
        gradients = dict(zip(watched, found, strict=True))
        for site, output, weight in zip(problem.sites, outputs, weights, strict=True):
            x, w = recorder.arguments[output][:2]
            costs[site.node] += _cost(
                modules[site.node], x, w, gradients[output], gradients[weight], len(costs[site.node])
            )
    return items.join({name: cost.numpy() / examples for name, cost in costs.items()})


def _cost(
    module: NoisyMac, x: Tensor, w: Tensor, output: Tensor | None, weight: Tensor | None, count: int
) -> Tensor:
    """sum(g^2 v) by item, float64 [count], on the CPU."""
    total = torch.zeros(count, dtype=torch.float64)
    places = torch.zeros(count, device=x.device, requires_grad=True)  # where each item's noise goes
    geometry = module.geometry
    if module.output_variances and output is not None:
        squared = geometry.view(output.square()) * module.unit_output_variance(x, w)
        total += _by_item(squared, geometry.over_output(places), places)
    if module.weight_variances and weight is not None:
        squared = weight.square() * module.unit_weight_variance(x, w)
        total += _by_item(squared, geometry.over_weight(places, w), places)
    return total


def _by_item(values: Tensor, spread: Tensor, places: Tensor) -> Tensor:
    """Sums of `values` over what each item is spread on: the transpose of the spreading, so its gradient."""
    (sums,) = torch.autograd.grad(spread.expand_as(values), places, values)
    return sums.double().cpu()
