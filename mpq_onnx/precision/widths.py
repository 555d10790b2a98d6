"""Bits as precision: which width for which weight and activation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import fx, nn

from mpq_onnx.arithmetic.weights import WeightGrid, WeightRules
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.graph.placement import Sites, WeightSite
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import with_quantizers
from mpq_onnx.precision.activation_costs import ActivationCosts
from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.problem import ACTIVATIONS, WEIGHTS, CostMeter, Costs, Precision, Problem
from mpq_onnx.precision.weight_costs import WeightCosts
from mpq_onnx.precision.width_budgets import WidthBudget, WidthBudgets, WidthSide
from mpq_onnx.precision.width_learner import WidthLearner, build_learner
from mpq_onnx.rounding.grids import site_grid


@dataclass(frozen=True, kw_only=True)
class WidthProblem(Problem):
    """Which width for which weight and activation."""

    budgets: WidthBudgets
    calibration: Calibration
    weight_rules: WeightRules
    dynamic_ranges: bool = False
    """Activations are quantized over the range of each example, not over the calibrated one."""

    what: ClassVar[str] = "widths"
    closed_form: ClassVar[str] = "water-filling"
    correction_shares: ClassVar[tuple[float, ...]] = (0.0, 0.125, 0.25, 0.5, 1.0)

    @property
    def sites(self) -> Sites:
        """What gets a width."""
        return self.budgets.sites

    @property
    def budget(self) -> WidthBudget:
        """The means to be kept."""
        return self.budgets.budget

    @property
    def weights(self) -> WidthItems:
        """The weights' items; none when the weights stay float."""
        return self.budgets.weights

    @property
    def activations(self) -> WidthItems:
        """The activations' items; none when the activations stay float."""
        return self.budgets.activations

    @property
    def sides(self) -> Mapping[str, WidthSide]:
        """Those that have a budget and something to spend it on."""
        return self.budgets.sides

    @property
    def allows_everything(self) -> bool:
        """Limits leave a choice to make."""
        return self.budgets.joint is None and super().allows_everything

    def uniform(self) -> Precision:
        """One width for all weights and one for all activations that keep the budgets."""
        return (
            super().uniform()
            if self.budgets.joint is None
            else self.budgets.joint.uniform(measured_costs(self))
        )

    def uniform_of_choices(self, uniform: Precision) -> Precision | None:
        """Under limits, the best pair of equal widths among the choices, where one keeps them."""
        joint = self.budgets.joint
        return (
            super().uniform_of_choices(uniform) if joint is None else joint.equal_choice(measured_costs(self))
        )

    def _solved(self, costs: Costs) -> Precision:
        return super()._solved(costs) if self.budgets.joint is None else self.budgets.joint.solve(costs)

    def _projected(self, learned: Precision) -> Precision:
        if self.budgets.joint is None:
            return super()._projected(learned)
        near = {
            kind: side.costs_near(learned[kind]) / side.items.sizes.sum() for kind, side in self.sides.items()
        }
        return self.budgets.joint.solve(near)

    def weight_array(self, site: WeightSite) -> np.ndarray:
        """The float weight."""
        return self.mirror.parameter(site.tensor).detach().cpu().numpy()

    def grids(self, site: WeightSite) -> list[WeightGrid]:
        """The weight's grid at each of the budget's choices; searched for once."""

        def search() -> list[WeightGrid]:
            weight = self.weight_array(site)
            rules = self.weight_rules.with_own(site.scheme, site.scales)
            return [
                site_grid(site, weight, np.full(site.channels, width), rules)
                for width in self.weights.choices
            ]

        return self.shared.once_anywhere(("grids", site.tensor), search)

    def cost_meters(self) -> tuple[Mirror, Sequence[CostMeter]]:
        """Of rounding the weights, and of rounding the activations."""
        mirror, nodes = self._marked()
        meters: list[CostMeter] = []
        if WEIGHTS in self.sides:
            self._search_grids()
            meters.append(WeightCosts(self, mirror))
        if ACTIVATIONS in self.sides:
            watched = {name: nodes[name] for name in self.activations.names}
            meters.append(ActivationCosts(watched, self.activations, self.calibration))
        return mirror, meters

    def _search_grids(self) -> None:
        """Search for all grids, some on every rank."""
        sites, ranks = self.sites.free_weights, self.data.ranks
        for site, grids in zip(sites, ranks.in_order(map(self.grids, ranks.own(sites))), strict=True):
            self.shared.once(("grids", site.tensor), partial(list, grids))

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
        """Quantizers whose widths are parameters, on every item, and fixed ones on what has a fixed width.

        Under limits a side is held to the mean that it starts with: where widths move, the limits are kept afterwards.
        """
        sides = self.sides
        if self.budgets.joint is not None:
            sides = {
                kind: replace(side, budget=side.measure.spent(side.items.sizes, start[kind]))
                for kind, side in sides.items()
            }
        return build_learner(self, sides, start)


class _Mark(nn.Module):
    """Another tensor of the same values, whose gradient is that of its own readers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)
