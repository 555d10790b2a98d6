"""What rounding a weight costs: (g . d)^2, d the real rounding error of an output channel (see fisher).

Errors that cancel inside the channel are seen to cancel. A weight that nodes share gets the sum of what it does in each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx

from mpq_onnx.arithmetic.quantization import fake_quantize
from mpq_onnx.arithmetic.weights import WeightGrid, along_axis
from mpq_onnx.graph.placement import Shapes, WeightSite
from mpq_onnx.graph.placement.sites import shape_of
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.matrix_form import MatrixForm
from mpq_onnx.mirror.matrix_forms import matrix_form
from mpq_onnx.precision.problem import WEIGHTS
from mpq_onnx.precision.recorder import Recorder
from mpq_onnx.ranks import Ranks

if TYPE_CHECKING:
    from mpq_onnx.precision.widths import WidthProblem

NAME = "fisher-projected"
BATCH_SIZE = 32
ERRORS_MEMORY = 3 * 2**29
"""Bytes of the errors of all weights at all of their choices."""
OUTPUTS_AT_ONCE = 64
"""Of a matrix product: more gradients of single examples do not stay in a processor's cache."""
SMALL_BATCH_SIZE = 8
"""Where a weight has no matrix form: each batch is one sample of its cost."""


@dataclass(frozen=True)
class _Use:
    """A node that multiplies a weight, as a matrix product."""

    node: fx.Node
    form: MatrixForm


class _Errors(NamedTuple):
    """Of rounding a weight, in half the memory; in units of the largest of each channel, so that the smallest keep theirs."""

    shares: Tensor
    """float16 [choices, ...]."""
    largest: Tensor
    """Broadcasts to the shares."""

    @staticmethod
    def halved(error: Tensor, channel_axis: int) -> "_Errors":
        """Of one choice, in the weight's shape."""
        others = [axis for axis in range(error.dim()) if axis != channel_axis]
        largest = error.abs().amax(others, keepdim=True) if others else error.abs()
        return _Errors((error / largest.where(largest > 0, 1.0)).half(), largest)

    def whole(self) -> Iterator[Tensor]:
        """The errors of one choice after the other: those of all at once leave the processor's cache."""
        for shares, largest in zip(self.shares, self.largest, strict=True):
            yield shares.to(largest) * largest


@dataclass(frozen=True)
class _Weight:
    """One weight with the error of each choice."""

    site: WeightSite
    constant: fx.Node
    value: Tensor
    grids: tuple[WeightGrid, ...]
    """One a choice."""
    uses: tuple[_Use, ...]
    """All of its uses, where each is a matrix product along the site's channels; empty where the gradient with respect to the
    weight itself is taken."""
    sums: Tensor
    """float64 [channels, choices]: what was added up."""

    kept: _Errors | None
    """Of all choices; None where those of all weights would take too much memory."""

    def errors(self) -> _Errors:
        """Of all choices: those that are kept, or made now."""
        return self._made_errors() if self.kept is None else self.kept

    def _made_errors(self) -> _Errors:
        shape = along_axis(self.value.dim(), self.site.channel_axis)
        made = []
        for grid in self.grids:
            parts = (
                torch.from_numpy(each).to(self.value) for each in (grid.scale, grid.zero_point, grid.levels)
            )
            rounded = fake_quantize(self.value, *(each.reshape(shape) for each in parts))
            made.append(_Errors.halved(rounded - self.value, self.site.channel_axis))
        return _Errors(*(torch.stack([*each]) for each in zip(*made, strict=True)))

    def with_errors(self) -> "_Weight":
        """The same, its errors made once."""
        return replace(self, kept=self._made_errors())


class WeightCosts:
    """A CostMeter; costs are [items, choices]."""

    kind = WEIGHTS

    def __init__(self, problem: "WidthProblem", mirror: Mirror) -> None:
        """Args: mirror: the one that is run."""
        self.items = problem.weights
        weights = [_weight(problem, site, mirror) for site in problem.sites.free_weights]
        numbers = sum(weight.value.numel() * len(weight.grids) for weight in weights)
        fits = numbers * torch.float16.itemsize <= ERRORS_MEMORY
        self.weights = [weight.with_errors() for weight in weights] if fits else weights
        constants = [weight.constant for weight in self.weights if not weight.uses]
        self.readers = dict.fromkeys(use.node for weight in self.weights for use in weight.uses)
        self.watched = [*self.readers, *constants]
        self.batch_size = SMALL_BATCH_SIZE if constants else BATCH_SIZE

    def update(self, recorder: Recorder, gradients: Mapping[fx.Node, Tensor | None]) -> None:
        """Sum (g . d)^2."""
        for weight in self.weights:
            weight.sums.add_(_channel_costs(weight, recorder, gradients))

    def merge(self, ranks: Ranks) -> None:
        """Add what the other ranks took in."""
        for weight in self.weights:
            weight.sums.copy_(ranks.sum(weight.sums))

    def costs(self, examples: int) -> np.ndarray:
        """Of every item: a channel, or the sum over a tensor's channels."""
        counts = dict(zip(self.items.names, self.items.counts, strict=True))
        by_channel = {weight.site.tensor: weight.sums.cpu().numpy() / examples for weight in self.weights}
        return self.items.join(
            {
                tensor: costs if counts[tensor] > 1 else costs.sum(axis=0, keepdims=True)
                for tensor, costs in by_channel.items()
            }
        )


def _weight(problem: "WidthProblem", site: WeightSite, mirror: Mirror) -> _Weight:
    grids = tuple(problem.grids(site))
    value = problem.mirror.parameter(site.tensor).detach()
    constant = mirror.values[site.tensor]
    return _Weight(
        site,
        constant,
        value,
        grids,
        _uses(site, constant, value, problem.calibration.shapes),
        torch.zeros(site.channels, len(grids), dtype=torch.float64, device=value.device),
        kept=None,
    )


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
    channels, choices = weight.site.channels, len(weight.grids)
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
    errors = weight.errors()
    shares = [form.weight_matrix(each) for each in errors.shares]
    sizes = [form.weight_matrix(each) for each in errors.largest.expand_as(errors.shares)]
    parts = []
    for start in range(0, slopes.shape[2], OUTPUTS_AT_ONCE):
        part = slice(start, start + OUTPUTS_AT_ONCE)
        per_example = torch.einsum("ngol,ngkl->ngok", slopes[:, :, part], patches)
        error = torch.stack(
            [share[:, part].to(x) * size[:, part] for share, size in zip(shares, sizes, strict=True)]
        )
        parts.append(torch.einsum("ngok,cgok->ngoc", per_example, error))
    projected = torch.cat(parts, 2)
    examples, groups, outputs, choices = projected.shape
    if groups * outputs == weight.site.channels:
        return projected.reshape(examples, -1, choices)
    return projected.sum(1)  # the same channels in every group


def _batch_costs(weight: _Weight, gradient: Tensor) -> Tensor:
    """(g . d)^2 with g the gradient of a whole batch: on average the sum over its examples, which are independent."""
    axis = weight.site.channel_axis
    others = [place + 1 for place in range(weight.value.dim()) if place != axis]
    product = torch.stack([error * gradient for error in weight.errors().whole()]).double()
    return (product.sum(dim=others) if others else product).square().t()
