"""Bits as precision: widths of weights and activations, under a budget each."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import fx, nn

from mpq_onnx.arithmetic.weights import WeightGrid, WeightRules, channel_rows, weight_grid
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.placement import Sites, WeightSite
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import with_quantizers
from mpq_onnx.precision.activation_costs import ActivationCosts
from mpq_onnx.precision.items import WidthItems, activation_items, weight_items
from mpq_onnx.precision.knapsack import ROUNDING
from mpq_onnx.precision.problem import ACTIVATIONS, WEIGHTS, CostMeter, Precision, Problem
from mpq_onnx.precision.resources import MEAN, Resource
from mpq_onnx.precision.weight_costs import WeightCosts
from mpq_onnx.precision.width_learner import WidthLearner, build_learner
from mpq_onnx.registries import RESOURCES

OPTIONS = {WEIGHTS: "weight-bits", ACTIVATIONS: "activation-bits"}
"""Of the command line, that state the budgets."""


@dataclass(frozen=True)
class WidthBudget:
    """Mean widths to be kept, and the widths to choose from. A mean of None leaves that side in float."""

    weight_bits: float | None
    activation_bits: float | None
    weight_choices: tuple[float, ...]
    activation_choices: tuple[float, ...]
    granularity: str
    """layer or channel, for weights."""
    activation_measure: str = MEAN
    """A name in RESOURCES."""


@dataclass(frozen=True)
class WidthSide:
    """The weights or the activations under their budget."""

    items: WidthItems
    budget: float
    resource: Resource

    @property
    def least(self) -> float:
        """What the narrowest choices come to."""
        return float(self.resource.spent(self.items.sizes, self.items.bits[:, 0]))

    @property
    def allows_everything(self) -> bool:
        """The budget gives every item its widest choice."""
        return self.budget >= float(self.resource.spent(self.items.sizes, self.items.bits[:, -1]))

    def uniform(self) -> np.ndarray:
        """The width of the most levels that the budget allows, float64 [items]; never above the widest choice.

        Items with choices of their own have the widest of those that is not above, or their narrowest one; the others then have
        the most levels that leaves.
        """
        most = min(self.budget, float(self.items.bits[:, -1].max()))
        highest = math.floor(2.0**most * (1 + 1e-12))
        if self.items.own is None:
            return self._with_levels(highest)
        fits = bisect_left(
            range(1, highest), True, key=lambda levels: self._spent(levels + 1) > self.budget * (1 + ROUNDING)
        )
        return self._with_levels(fits + 1)

    def _with_levels(self, levels: int) -> np.ndarray:
        """That many levels for all items but those with choices of their own."""
        widths = np.full(len(self.items.sizes), math.log2(levels))
        return (
            widths if self.items.own is None else np.where(self.items.own, self.allowed_below(widths), widths)
        )

    def _spent(self, levels: int) -> float:
        return float(self.resource.spent(self.items.sizes, self._with_levels(levels)))

    def allowed_below(self, levels: np.ndarray) -> np.ndarray:
        """The widest choice that is not above `levels` [items]."""
        places = np.searchsorted(self.items.choices, levels * (1 + 1e-12), side="right") - 1
        return self.items.bits[np.arange(len(levels)), places.clip(0)]

    def solve(self, costs: np.ndarray) -> np.ndarray:
        """Allowed widths of least summed cost; costs: float64 [items, choices]."""
        return self.resource.fill(self.items, costs, self.budget)

    def project(self, learned: np.ndarray) -> np.ndarray:
        """Allowed widths near to the learned ones.

        Where the training has settled, one more bit gains the same everywhere; with quantization error falling by 4 a bit, the
        cost of width c for an item that learned b is then proportional to size * 4^(b - c).
        """
        return self.solve(self.items.sizes[:, None] * 4.0 ** (learned[:, None] - self.items.choices))

    def corrected(
        self, costs: np.ndarray, start: np.ndarray, learned: np.ndarray, share: float
    ) -> np.ndarray:
        """An item that training moves from b0 to b matters 4^(b - b0) times what its costs say: what so many bits take off."""
        return costs * 4.0 ** (share * (learned - start))[:, None]


@dataclass(frozen=True, kw_only=True)
class WidthProblem(Problem):
    """Which width for which weight and activation."""

    sites: Sites
    calibration: Calibration
    weight_rules: WeightRules
    budget: WidthBudget
    dynamic_ranges: bool = False
    """Activations are quantized over the range of each example, not over the calibrated one."""
    limited_by: str = "these overrides"
    """What gives items choices of their own, for errors."""

    what: ClassVar[str] = "widths"
    closed_form: ClassVar[str] = "water-filling"
    correction_shares: ClassVar[tuple[float, ...]] = (0.0, 0.125, 0.25, 0.5, 1.0)

    @cached_property
    def weights(self) -> WidthItems:
        """The weights' items; none when the weights stay float."""
        sites = self.sites.free_weights if self.budget.weight_bits is not None else ()
        return weight_items(sites, self.budget.weight_choices, self.budget.granularity)

    @cached_property
    def activations(self) -> WidthItems:
        """The activations' items; none when the activations stay float."""
        sites = self.sites.free_activations if self.budget.activation_bits is not None else ()
        return activation_items(sites, self.budget.activation_choices)

    @cached_property
    def sides(self) -> Mapping[str, WidthSide]:
        """Those that have a budget and something to spend it on."""
        budget = self.budget
        sides = {
            WEIGHTS: (self.weights, budget.weight_bits, MEAN),
            ACTIVATIONS: (self.activations, budget.activation_bits, budget.activation_measure),
        }
        return {
            kind: WidthSide(items, mean, RESOURCES[resource])
            for kind, (items, mean, resource) in sides.items()
            if mean is not None and items.names
        }

    def check_budgets(self) -> None:
        """Raise UsageError for a budget that the items' own choices are above; says what can be reached."""
        for kind, side in self.sides.items():
            if side.least > side.budget * (1 + ROUNDING):
                raise UsageError(
                    f"--{OPTIONS[kind]} {side.budget:g}: cannot be reached with {self.limited_by}; the smallest is"
                    f" {side.least:.5g}"
                )

    def weight_array(self, site: WeightSite) -> np.ndarray:
        """The float weight."""
        return self.mirror.parameter(site.tensor).detach().cpu().numpy()

    def grids(self, site: WeightSite) -> list[WeightGrid]:
        """The weight's grid at each of the budget's choices; searched for once."""

        def search() -> list[WeightGrid]:
            rows = channel_rows(self.weight_array(site), site.channel_axis)
            rules = self.weight_rules.with_own(site.scheme, site.scales).with_one_scale(site.has_one_scale)
            return [weight_grid(rows, np.full(site.channels, width), rules) for width in self.weights.choices]

        return self.shared.once(("grids", site.tensor), search)

    def cost_meters(self) -> tuple[Mirror, Sequence[CostMeter]]:
        """Of rounding the weights, and of rounding the activations."""
        mirror, nodes = self._marked()
        meters: list[CostMeter] = []
        if WEIGHTS in self.sides:
            meters.append(WeightCosts(self, mirror))
        if ACTIVATIONS in self.sides:
            watched = {name: nodes[name] for name in self.activations.names}
            meters.append(ActivationCosts(watched, self.activations, self.calibration))
        return mirror, meters

    def _marked(self) -> tuple[Mirror, dict[str, fx.Node]]:
        """A mirror, and the node in it whose gradient each activation's quantizer sees (not that of readers in float)."""
        marks = {tensor: _Mark() for tensor in self.sites.readers}
        mirror = with_quantizers(self.mirror, marks, readers=self.sites.readers) if marks else self.mirror
        nodes = dict(mirror.values)
        for node in mirror.module.graph.nodes:
            if "quantizer_of" in node.meta:
                nodes[node.meta["quantizer_of"]] = node
        return mirror, nodes

    def learner(self, start: Precision) -> WidthLearner:
        """Quantizers whose widths are parameters, on every item, and fixed ones on what has a fixed width."""
        return build_learner(self, start)


class _Mark(nn.Module):
    """Another tensor of the same values, whose gradient is that of its own readers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)
