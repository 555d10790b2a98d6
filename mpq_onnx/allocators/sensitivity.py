"""What each width of each item costs the task, to second order, from the gradients of a few hundred examples.

A small change d of a weight changes the loss by about E[(g . d)^2] / 2, with g the gradient of one example's log-likelihood
and its label drawn from the model's own prediction (the Fisher information, which equals the Hessian of the
Kullback-Leibler divergence from the float model). Here d is the real rounding error of an output channel, so that errors
which cancel inside the channel are seen to cancel. For an activation the errors of its elements count as independent:
sum E[g^2] times the mean squared error that calibration measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_onnx.allocators.likelihood import sampled_likelihood
from mpq_onnx.allocators.problem import Problem
from mpq_onnx.allocators.recorder import Recorder
from mpq_onnx.calibration import WIDTHS
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.matrix_form import input_patches, output_matrix, supports, weight_matrix
from mpq_onnx.mirror.quantized import with_quantizers
from mpq_onnx.placement import WeightSite
from mpq_onnx.weights import quantize_to_nearest

NAME = "fisher-projected"
EXAMPLES = 512
BATCH_SIZE = 32


@dataclass(frozen=True)
class Costs:
    """Expected increase of the loss (in units of one example's, up to a common factor)."""

    weights: np.ndarray
    """float64 [weight items, choices]."""
    activations: np.ndarray
    """float64 [activation items, choices]."""


@dataclass(frozen=True)
class _Layer:
    site: WeightSite
    node: fx.Node
    attributes: Mapping[str, Any]
    weight: Tensor
    errors: Tensor
    """[choices, *weight shape]."""


def measure_costs(problem: Problem) -> Costs:
    """Costs of every width of every item, on the first few hundred calibration examples; measured once for all budgets."""
    sides = problem.budget.weight_bits is not None, problem.budget.activation_bits is not None
    return problem.shared.once(("costs", *sides), lambda: _measure(problem))


def _measure(problem: Problem) -> Costs:
    generator = torch.Generator().manual_seed(problem.training.seed)
    mirror, activations = _watched(problem)
    layers = _layers(problem, mirror)
    weight_costs = {
        layer.site.tensor: torch.zeros(
            layer.site.channels, len(layer.errors), dtype=torch.float64, device=layer.weight.device
        )
        for layer in layers
    }
    squared_gradients = dict.fromkeys(activations, 0.0)
    # A batch holds all its activations at once; later batches of the data set add nothing new.
    examples = min(EXAMPLES, len(problem.data))
    for batch in problem.data.batches(BATCH_SIZE, examples):
        watched = [*(layer.node for layer in layers), *activations.values()]
        recorder = Recorder(mirror, watched, {layer.node for layer in layers})
        outputs = recorder.run_batch(batch.inputs)
        found = [recorder.values[node] for node in watched]
        gradients = torch.autograd.grad(
            sampled_likelihood(outputs, batch.answer, generator), found, allow_unused=True
        )
        for layer, gradient in zip(layers, gradients, strict=False):
            if gradient is not None:
                weight_costs[layer.site.tensor] += _channel_costs(
                    layer, recorder.arguments[layer.node][0], gradient
                )
        for tensor, gradient in zip(activations, gradients[len(layers) :], strict=True):
            if gradient is not None:
                squared_gradients[tensor] += float(gradient.double().square().sum())
    return Costs(
        _join_weights(
            problem, {tensor: cost.cpu().numpy() / examples for tensor, cost in weight_costs.items()}
        ),
        _join_activations(problem, {tensor: total / examples for tensor, total in squared_gradients.items()}),
    )


class _Mark(nn.Module):
    """Another tensor of the same values, whose gradient is that of its own readers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view_as(x)


def _watched(problem: Problem) -> tuple[Mirror, dict[str, fx.Node]]:
    """A mirror, and the node in it whose gradient each activation's quantizer sees (not that of readers in float)."""
    marks = {tensor: _Mark() for tensor in problem.sites.readers}
    mirror = (
        with_quantizers(problem.mirror, marks, readers=problem.sites.readers) if marks else problem.mirror
    )
    nodes = dict(mirror.values)
    for node in mirror.module.graph.nodes:
        if "quantizer_of" in node.meta:
            nodes[node.meta["quantizer_of"]] = node
    return mirror, {tensor: nodes[tensor] for tensor in problem.activations.names}


def _layers(problem: Problem, mirror: Mirror) -> list[_Layer]:
    layers = []
    for site in problem.sites.free_weights if problem.budget.weight_bits is not None else ():
        weight = problem.weight_array(site)
        errors = [
            quantize_to_nearest(weight, site.channel_axis, grid).dequantized() - weight
            for grid in problem.grids(site)
        ]
        device_weight = problem.mirror.parameter(site.tensor).detach()
        stacked = torch.from_numpy(np.stack(errors)).to(device_weight)
        for node in mirror.values[site.tensor].users:
            layers.append(_Layer(site, node, dict(node.kwargs), device_weight, stacked))
    return layers


def _channel_costs(layer: _Layer, x: Tensor, gradient: Tensor) -> Tensor:
    """sum over examples of (g . d)^2, [channels, choices]."""
    if not supports(layer.site, layer.attributes):
        return _independent_costs(layer, x, gradient)
    patches = input_patches(layer.site.op_type, x, layer.weight, layer.attributes)
    slopes = output_matrix(layer.site.op_type, gradient, layer.attributes)
    per_example = torch.einsum("ngol,ngkl->ngok", slopes, patches)
    errors = torch.stack(
        [weight_matrix(layer.site.op_type, error, layer.attributes) for error in layer.errors]
    )
    projected = torch.einsum("ngok,bgok->ngob", per_example, errors)
    return projected.double().square().sum(0).reshape(layer.site.channels, -1)


def _independent_costs(layer: _Layer, x: Tensor, gradient: Tensor) -> Tensor:
    """For layers without a matrix form: the output's squared gradients times the input's power and the squared error."""
    power = gradient.double().square().sum() * x.double().square().mean()
    axes = [axis + 1 for axis in range(layer.weight.dim()) if axis != layer.site.channel_axis]
    return layer.errors.double().square().sum(dim=axes).t() * power / layer.site.channels


def _join_weights(problem: Problem, by_channel: Mapping[str, np.ndarray]) -> np.ndarray:
    items = problem.weights
    if not items.names:
        return np.zeros((0, len(items.choices)))
    per_channel = problem.budget.granularity == "channel"
    return items.join(
        {
            tensor: costs if per_channel else costs.sum(axis=0, keepdims=True)
            for tensor, costs in by_channel.items()
        }
    )


def _join_activations(problem: Problem, squared_gradients: Mapping[str, float]) -> np.ndarray:
    items = problem.activations
    if not items.names:
        return np.zeros((0, len(items.choices)))
    rows = []
    for tensor in items.names:
        measured = problem.calibration.tensors[tensor].errors
        rows.append(squared_gradients[tensor] * np.interp(items.choices, list(WIDTHS), measured))
    return np.stack(rows)
