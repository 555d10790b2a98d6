"""What may be spent on widths: the mean of each side, and limits on what a device counts."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mpq_onnx.documents.resources.terms import Sum, Widths, spent
from mpq_onnx.errors import AllocationError, UsageError
from mpq_onnx.graph.placement import ActivationSite, Sites, WeightSite
from mpq_onnx.precision.items import WidthItems, activation_items, weight_items
from mpq_onnx.precision.joint import JointBudgets
from mpq_onnx.precision.joint_program import PairRule
from mpq_onnx.precision.knapsack import ROUNDING
from mpq_onnx.precision.limits import Limit
from mpq_onnx.precision.measures import MEAN, Measure
from mpq_onnx.precision.problem import ACTIVATIONS, WEIGHTS
from mpq_onnx.registries import ACTIVATION_BUDGETS

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
    """A name in ACTIVATION_BUDGETS."""


@dataclass(frozen=True)
class WidthSide:
    """The weights or the activations under their budget."""

    items: WidthItems
    budget: float
    measure: Measure

    @property
    def least(self) -> float:
        """What the narrowest choices come to."""
        return self.measure.spent(self.items.sizes, self.items.bits[:, 0])

    @property
    def allows_everything(self) -> bool:
        """The budget gives every item its widest choice."""
        return self.budget >= self.measure.spent(self.items.sizes, self.items.bits[:, -1])

    def uniform(self) -> np.ndarray:
        """The width of the most levels that the budget allows, float64 [items]; never above the widest choice.

        Items with choices of their own have the widest of those that is not above, or their narrowest one; the others then have
        the most levels that leaves.
        """
        most = min(self.budget, float(self.items.bits[:, -1].max()))
        highest = math.floor(2.0**most * (1 + 1e-12))
        if self.items.own is None:
            return self.equal(math.log2(highest))
        fits = bisect_left(
            range(1, highest), True, key=lambda levels: self._spent(levels + 1) > self.budget * (1 + ROUNDING)
        )
        return self.equal(math.log2(fits + 1))

    @property
    def common_choices(self) -> np.ndarray:
        """float64: the widths that items without choices of their own may have; all, where there are no such items."""
        items = self.items
        if items.own is None or items.allowed is None or items.own.all():
            return items.choices
        return items.choices[items.allowed[~items.own][0]]

    def equal(self, width: float) -> np.ndarray:
        """That width for all items but those with choices of their own, float64 [items]."""
        widths = np.full(len(self.items.sizes), width)
        return (
            widths if self.items.own is None else np.where(self.items.own, self.allowed_below(widths), widths)
        )

    def _spent(self, levels: int) -> float:
        return self.measure.spent(self.items.sizes, self.equal(math.log2(levels)))

    def allowed_below(self, levels: np.ndarray) -> np.ndarray:
        """The widest choice that is not above `levels` [items]."""
        places = np.searchsorted(self.items.choices, levels * (1 + 1e-12), side="right") - 1
        return self.items.bits[np.arange(len(levels)), places.clip(0)]

    def solve(self, costs: np.ndarray) -> np.ndarray:
        """Allowed widths of least summed cost; costs: float64 [items, choices]."""
        return self.measure.fill(self.items, costs, self.budget)

    def project(self, learned: np.ndarray) -> np.ndarray:
        """Allowed widths near to the learned ones.

        Where the training has settled, one more bit gains the same everywhere; with quantization error falling by 4 a bit, the
        cost of width c for an item that learned b is then proportional to size * 4^(b - c).
        """
        return self.solve(self.costs_near(learned))

    def costs_near(self, learned: np.ndarray) -> np.ndarray:
        """Costs [items, choices] that the learned widths are the best of (see project)."""
        return self.items.sizes[:, None] * 4.0 ** (learned[:, None] - self.items.choices)

    def corrected(
        self, costs: np.ndarray, start: np.ndarray, learned: np.ndarray, share: float
    ) -> np.ndarray:
        """An item that training moves from b0 to b matters 4^(b - b0) times what its costs say: what so many bits take off."""
        return costs * 4.0 ** (share * (learned - start))[:, None]


@dataclass(frozen=True)
class WidthBudgets:
    """What gets a width, and everything that bounds the widths."""

    sites: Sites
    budget: WidthBudget
    resources: Mapping[str, tuple[Sum, ...]] = field(default_factory=dict)
    """What a device counts, by name."""
    most: Mapping[str, float] = field(default_factory=dict)
    """Limits on some of them, beside the means."""
    asked: Mapping[str, float] = field(default_factory=dict)
    """The means that were asked for, by weight_bits and activation_bits; those of `budget` stand for none too."""
    rules: tuple[PairRule, ...] = ()
    """Widths that go together in the device."""
    limited_by: str = "these overrides"
    """What gives items choices of their own, for errors."""

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """On resources."""
        return tuple(Limit(name, amount, self.resources[name]) for name, amount in self.most.items())

    def spent(self, widths: Widths) -> dict[str, float]:
        """What widths come to, by resource; a column of a cost table that nothing bounds, where it has rows for them."""
        found = {}
        for name, sums in self.resources.items():
            try:
                found[name] = spent(sums, widths)
            except AllocationError:
                if name in self.most:
                    raise
        return found

    @property
    def quantizes(self) -> tuple[bool, bool]:
        """Whether weights, and activations, get widths, chosen or fixed."""
        return self.budget.weight_bits is not None, self.budget.activation_bits is not None

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
            kind: WidthSide(items, mean, ACTIVATION_BUDGETS[measure])
            for kind, (items, mean, measure) in sides.items()
            if mean is not None and items.names
        }

    @cached_property
    def joint(self) -> JointBudgets | None:
        """What bounds weights and activations together; None where nothing does."""
        free = {name for side in self.sides.values() for name in side.items.names}
        rules = tuple(rule for rule in self.rules if free.issuperset(rule.tensors))
        if not self.sides or not (self.limits or rules):
            return None
        return JointBudgets(self.sides, self.limits, self._fixed_widths(), rules)

    def _fixed_widths(self) -> dict[str, float]:
        """Of tensors that the budgets do not count, as they count in limits."""
        sites: list[WeightSite | ActivationSite] = []
        if self.budget.weight_bits is not None:
            sites += self.sites.weights
        if self.budget.activation_bits is not None:
            sites += self.sites.activations
        return {site.tensor: float(site.fixed_bits) for site in sites if site.fixed_bits}

    def check(self) -> None:
        """Raise UsageError for a budget that the items' own choices are above; says what can be reached."""
        for kind, side in self.sides.items():
            if side.least > side.budget * (1 + ROUNDING):
                raise UsageError(
                    f"--{OPTIONS[kind]} {side.budget:g}: cannot be reached with {self.limited_by}; the smallest is"
                    f" {side.least:.5g}"
                )
        if self.joint is not None:
            self.joint.check()
        for limit in () if self.sides else self.limits:
            if not limit.holds(self._fixed_widths()):
                raise UsageError(
                    f"--max {limit.resource}={limit.most:.6g}: cannot be reached: every width is given, and they take"
                    f" {limit.spent(self._fixed_widths()):.6g}"
                )
