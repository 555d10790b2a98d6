"""What every allocator gets: the model's mirror, its sites, the budgets and the data."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mpq_onnx.allocators.budget_measures import BUDGET_MEASURES, MEAN, BudgetMeasure
from mpq_onnx.allocators.items import WidthItems, Widths, activation_items, weight_items, widths_by_tensor
from mpq_onnx.allocators.training_data import TrainingData
from mpq_onnx.allocators.training_settings import TrainingSettings
from mpq_onnx.calibration import Calibration
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.placement import Sites, WeightSite
from mpq_onnx.shared_work import SharedWork
from mpq_onnx.weights import WeightGrid, WeightRules, channel_rows, weight_grid


@dataclass(frozen=True)
class Budget:
    """Mean widths to be kept, and the widths to choose from. A mean of None leaves that side in float."""

    weight_bits: float | None
    activation_bits: float | None
    weight_choices: tuple[float, ...]
    activation_choices: tuple[float, ...]
    granularity: str
    """layer or channel, for weights."""
    activation_measure: str = MEAN
    """A name in BUDGET_MEASURES."""


@dataclass(frozen=True)
class BudgetSide:
    """The weights or the activations of a problem, under their budget."""

    items: WidthItems
    budget: float | None
    """None where the side stays in float, and has no items."""
    measure: BudgetMeasure

    def fill(self, costs: np.ndarray) -> np.ndarray:
        """Allowed widths of least summed cost (float64 [items]; empty without a budget)."""
        if self.budget is None or not self.items.names:
            return np.zeros(0)
        return self.measure.fill(self.items, costs, self.budget)

    def project(self, learned: np.ndarray) -> np.ndarray:
        """Allowed widths near to the learned ones (float64 [items]; empty without a budget).

        Where the training has settled, one more bit gains the same everywhere; with quantization error falling by 4 a bit, the
        cost of width c for an item that learned b is then proportional to size * 4^(b - c).
        """
        if self.budget is None or not self.items.names:
            return np.zeros(0)
        return self.fill(self.items.sizes[:, None] * 4.0 ** (learned[:, None] - self.items.choices))


@dataclass(frozen=True)
class Problem:
    """One allocation problem."""

    mirror: Mirror
    """Of the float model, on the device that computes."""
    sites: Sites
    calibration: Calibration
    weight_rules: WeightRules
    budget: Budget
    training: TrainingSettings
    data: TrainingData
    log: logging.Logger
    checkpoint: str | None = None
    """File that the gradient method saves its state to, and goes on from when it exists."""
    dynamic_ranges: bool = False
    """Activations are quantized over the range of each example, not over the calibrated one."""
    shared: SharedWork = field(default_factory=SharedWork, repr=False)
    """What problems that differ in their budgets alone have in common: grids and costs."""

    @property
    def weights(self) -> WidthItems:
        """The weights' items; none when the weights stay float."""
        sites = self.sites.free_weights if self.budget.weight_bits is not None else ()
        return weight_items(sites, self.budget.weight_choices, self.budget.granularity)

    @property
    def activations(self) -> WidthItems:
        """The activations' items; none when the activations stay float."""
        sites = self.sites.free_activations if self.budget.activation_bits is not None else ()
        return activation_items(sites, self.budget.activation_choices)

    @property
    def weight_side(self) -> BudgetSide:
        """The weights with their budget."""
        return BudgetSide(self.weights, self.budget.weight_bits, BUDGET_MEASURES[MEAN])

    @property
    def activation_side(self) -> BudgetSide:
        """The activations with their budget."""
        measure = BUDGET_MEASURES[self.budget.activation_measure]
        return BudgetSide(self.activations, self.budget.activation_bits, measure)

    def weight_array(self, site: WeightSite) -> np.ndarray:
        """The float weight."""
        return self.mirror.parameter(site.tensor).detach().cpu().numpy()

    def grids(self, site: WeightSite) -> list[WeightGrid]:
        """The weight's grid at each of the budget's choices; searched for once."""

        def search() -> list[WeightGrid]:
            rows = channel_rows(self.weight_array(site), site.channel_axis)
            return [
                weight_grid(
                    rows, np.full(site.channels, width), self.weight_rules.with_one_scale(site.has_one_scale)
                )
                for width in self.weights.choices
            ]

        return self.shared.once(("grids", site.tensor), search)


@dataclass(frozen=True)
class Candidate:
    """Widths that keep the budget."""

    name: str
    """How they were found."""
    weights: Widths
    activations: dict[str, float]
    range_factors: Mapping[str, float] = field(default_factory=dict)
    """Learned factors on the ranges of some tensors."""


def make_candidate(
    problem: Problem,
    name: str,
    weight_bits: np.ndarray,
    activation_bits: np.ndarray,
    range_factors: Mapping[str, float] | None = None,
) -> Candidate:
    """Widths by item (float64 [items] each; empty for a side that stays float) as widths by tensor."""
    return Candidate(
        name,
        widths_by_tensor(problem.weights, weight_bits),
        {
            tensor: float(bits)
            for tensor, bits in zip(problem.activations.names, activation_bits, strict=True)
        },
        range_factors or {},
    )
