"""What each width of each item costs the task, to second order, from the gradients of a few hundred examples.

A small change d of a weight changes the loss by about E[(g . d)^2] / 2, with g the gradient of one example's log-likelihood
and its label drawn from the model's own prediction (the Fisher information, which equals the Hessian of the
Kullback-Leibler divergence from the float model). Here d is the real rounding error of an output channel, so that errors
which cancel inside the channel are seen to cancel. For an activation the errors of its elements count as independent:
sum E[g^2] times the mean squared error that calibration measured. A weight that nodes share gets the sum of what it does in
each of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_onnx.allocators.likelihood import sampled_likelihood
from mpq_onnx.allocators.problem import Problem
from mpq_onnx.allocators.recorder import Recorder
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.matrix_form import MatrixForm, matrix_form
from mpq_onnx.mirror.quantized import with_quantizers
from mpq_onnx.placement import Shapes, WeightSite
from mpq_onnx.placement.sites import shape_of
from mpq_onnx.progress import begin
from mpq_onnx.weights import quantize_to_nearest

NAME = "fisher-projected"
EXAMPLES = 512
BATCH_SIZE = 32
SMALL_BATCH_SIZE = 8
"""Where a weight has no matrix form: each batch is one sample of its cost."""


@dataclass(frozen=True)
class Costs:
    """Expected increase of the loss (in units of one example's, up to a common factor)."""

    weights: np.ndarray
    """float64 [weight items, choices]."""
    activations: np.ndarray
    """float64 [activation items, choices]."""


@dataclass(frozen=True)
class _Use:
    """A node that multiplies a weight, as a matrix product."""

    node: fx.Node
    form: MatrixForm


@dataclass(frozen=True)
class _Weight:
    """One weight with the error of each choice."""

    site: WeightSite
    constant: fx.Node
    value: Tensor
    errors: Tensor
    """[choices, *weight shape]."""
    uses: tuple[_Use, ...]
    """All of its uses, where each is a matrix product along the site's channels; empty where the gradient with respect to the
    weight itself is taken."""


def measure_costs(problem: Problem) -> Costs:
    """Costs of every width of every item, on a sample of a few hundred calibration examples; measured once for all budgets."""
    sides = problem.budget.weight_bits is not None, problem.budget.activation_bits is not None
    return problem.shared.once(("costs", *sides), lambda: _measure(problem))


def _measure(problem: Problem) -> Costs:
    begin("costs of every width")
    generator = torch.Generator().manual_seed(problem.training.seed)
    mirror, activations = _watched(problem)
    weights = _weights(problem, mirror)
    weight_costs = {
        weight.site.tensor: torch.zeros(
            weight.site.channels, len(weight.errors), dtype=torch.float64, device=weight.value.device
        )
        for weight in weights
    }
    squared_gradients = dict.fromkeys(activations, 0.0)
    readers = {use.node for weight in weights for use in weight.uses}
    constants = [weight.constant for weight in weights if not weight.uses]
    watched = list(dict.fromkeys([*readers, *constants, *activations.values()]))
    # A batch holds all its activations at once; later batches of the data set add nothing new.
    examples = min(EXAMPLES, len(problem.data))
    size = SMALL_BATCH_SIZE if constants else BATCH_SIZE
    for batch in problem.data.batches(size, examples):
        recorder = Recorder(mirror, watched, readers)
        outputs = batch.by_example(recorder.run_batch(batch.inputs))
        found = torch.autograd.grad(
            sampled_likelihood(outputs, batch, generator),
            [recorder.values[node] for node in watched],
            allow_unused=True,
        )
        gradients = dict(zip(watched, found, strict=True))
        for weight in weights:
            weight_costs[weight.site.tensor] += _channel_costs(weight, recorder, gradients)
        for tensor, node in activations.items():
            gradient = gradients[node]
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


def _weights(problem: Problem, mirror: Mirror) -> list[_Weight]:
    weights = []
    for site in problem.sites.free_weights if problem.budget.weight_bits is not None else ():
        array = problem.weight_array(site)
        errors = [
            quantize_to_nearest(array, site.channel_axis, grid).dequantized() - array
            for grid in problem.grids(site)
        ]
        value = problem.mirror.parameter(site.tensor).detach()
        constant = mirror.values[site.tensor]
        weights.append(
            _Weight(
                site,
                constant,
                value,
                torch.from_numpy(np.stack(errors)).to(value),
                _uses(site, constant, value, problem.calibration.shapes),
            )
        )
    return weights


def _uses(site: WeightSite, constant: fx.Node, value: Tensor, shapes: Shapes) -> tuple[_Use, ...]:
    """The readers of a weight, unless one of them is of another kind: a look-up, or along another axis."""
    by_name = {use.node: use for use in site.uses if use.channel_axis == site.channel_axis}
    found = []
    for node in constant.users:
        use = by_name.get(str(node.meta.get("onnx_name")))
        form = matrix_form(use, value, dict(node.kwargs), len(shape_of(use.input, shapes))) if use else None
        if form is None:
            return ()
        found.append(_Use(node, form))
    return tuple(found)


def _channel_costs(weight: _Weight, recorder: Recorder, gradients: Mapping[fx.Node, Tensor | None]) -> Tensor:
    """sum over examples of (g . d)^2, [channels, choices]."""
    channels, choices = weight.site.channels, len(weight.errors)
    none = torch.zeros(channels, choices, dtype=torch.float64, device=weight.value.device)
    if not weight.uses:
        gradient = gradients[weight.constant]
        return none if gradient is None else _batch_costs(weight, gradient)
    total: Tensor | None = None
    for each in weight.uses:
        gradient = gradients[each.node]
        x = recorder.arguments[each.node][0]
        if gradient is None:
            continue
        projected = _projected(weight, each, x, gradient)
        total = projected if total is None else total + projected
    return none if total is None else total.double().square().sum(0)


def _projected(weight: _Weight, each: _Use, x: Tensor, gradient: Tensor) -> Tensor:
    """g . d of every example, [examples, channels, choices]."""
    form = each.form
    patches, slopes = form.patches(x, weight.value), form.outputs(gradient, weight.value)
    per_example = torch.einsum("ngol,ngkl->ngok", slopes, patches)
    errors = torch.stack([form.weight_matrix(error) for error in weight.errors])
    projected = torch.einsum("ngok,bgok->ngob", per_example, errors)
    examples, groups, outputs, choices = projected.shape
    if groups * outputs == weight.site.channels:
        return projected.reshape(examples, -1, choices)
    return projected.sum(1)  # the same channels in every group


def _batch_costs(weight: _Weight, gradient: Tensor) -> Tensor:
    """(g . d)^2 with g the gradient of a whole batch: on average the sum over its examples, which are independent."""
    axis = weight.site.channel_axis
    others = [place + 1 for place in range(weight.value.dim()) if place != axis]
    product = (weight.errors * gradient).double()
    return (product.sum(dim=others) if others else product).square().t()


def _join_weights(problem: Problem, by_channel: Mapping[str, np.ndarray]) -> np.ndarray:
    items = problem.weights
    if not items.names:
        return np.zeros((0, len(items.choices)))
    counts = dict(zip(items.names, items.counts, strict=True))
    return items.join(
        {
            tensor: costs if counts[tensor] > 1 else costs.sum(axis=0, keepdims=True)
            for tensor, costs in by_channel.items()
        }
    )


def _join_activations(problem: Problem, squared_gradients: Mapping[str, float]) -> np.ndarray:
    items = problem.activations
    if not items.names:
        return np.zeros((0, len(items.choices)))
    tensors = problem.calibration.tensors
    return np.stack(
        [
            squared_gradients[name] * np.array([tensors[name].error(bits) for bits in items.choices])
            for name in items.names
        ]
    )
