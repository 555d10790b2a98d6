"""Energies per MAC as precision: of every multiply-accumulate node of an analog accelerator, under one budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from mpq_onnx.arithmetic.noise.energy_levels import EnergyLevels
from mpq_onnx.arithmetic.noise.trade_off import corrected_costs, least_noise
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.noisy_mac import NoisyMirror, with_noise
from mpq_onnx.precision.energy_learner import EnergyLearner
from mpq_onnx.precision.energy_prices import EnergyPrices, PricedEnergySide, PricedLimit
from mpq_onnx.precision.items import Items, Levels, energy_items
from mpq_onnx.precision.noise_costs import NoiseCosts
from mpq_onnx.precision.problem import ENERGIES, CostMeter, Precision, Problem
from mpq_onnx.registries import BANK, NOISE_MODELS

SMALLEST_SHARE = 0.01
"""No item gets less than this share of the mean: an estimate of zero sensitivity is never quite true."""


@dataclass(frozen=True)
class EnergySide:
    """The energies under their budget."""

    items: Items
    budget: float
    """Mean over all MACs."""
    allowed: EnergyLevels
    falls_with: np.ndarray
    """float64 [noise models]: the power of the energy that each model's variance falls with."""

    @property
    def allows_everything(self) -> bool:
        """More energy always helps."""
        return False

    def uniform(self) -> np.ndarray:
        """The same energy for every MAC, float64 [items].

        With whole repeats it is the whole number below the budget: at 2.5 repeats all MACs can be repeated twice, and the rest
        of the budget can only be spent on some of them, which is no longer uniform.
        """
        energy = np.floor(self.budget) if self.allowed.smallest else self.budget
        return np.full(len(self.items.sizes), float(energy))

    def allowed_below(self, levels: np.ndarray) -> np.ndarray:
        """Uniform energies are allowed ones."""
        return levels

    def solve(self, costs: np.ndarray) -> np.ndarray:
        """Energies of least summed cost; costs: float64 [items, noise models], at unit energy."""
        total = self.budget * self.items.sizes.sum()
        return self.project(least_noise(costs, self.falls_with, self.items.sizes, total))

    def project(self, learned: np.ndarray) -> np.ndarray:
        """Allowed energies in the proportions of `learned` that keep the budget; equal ones where it is 0 everywhere.

        Raises:
            ModelError: not finite numbers.
        """
        if not np.isfinite(learned).all():
            raise ModelError("the energies wanted are not finite: the model or its data hold NaN or infinity")
        learned = learned if learned.max(initial=0.0) > 0 else np.ones(len(learned))
        lifted = np.maximum(learned, SMALLEST_SHARE * self.items.mean(learned))
        # A hair below, so that sums in another order are not above it.
        total = self.budget * self.items.sizes.sum() * (1 - 1e-12)
        return self.allowed.fit(lifted, self.items.sizes, total)

    def corrected(
        self, costs: np.ndarray, start: np.ndarray, learned: np.ndarray, share: float
    ) -> np.ndarray:
        """The costs that a share of the way from `start` to `learned` would follow from (see trade_off)."""
        return corrected_costs(costs, start, learned, share, self.falls_with)


def falling_powers(noises: Sequence[str]) -> np.ndarray:
    """float64 [noise models]: the power of the energy that each model's variance falls with."""
    return np.array([NOISE_MODELS[name].falls_with for name in noises])


@dataclass(frozen=True, kw_only=True)
class EnergyProblem(Problem):
    """Which energy for which multiply-accumulate node; `mirror` is the noise-free model's, float or QDQ made trainable."""

    sites: tuple[MacSite, ...]
    noises: tuple[str, ...]
    """Names in NOISE_MODELS."""
    energy_per_mac: float | None
    """The budget: mean over all MACs; None where a limit on a resource stands in its place."""
    granularity: str
    """layer or channel."""
    allowed: EnergyLevels
    prices: Mapping[str, EnergyPrices] = field(default_factory=dict)
    """What the energies cost, by resource."""
    most: Mapping[str, float] = field(default_factory=dict)
    """Limits by resource, beside or in place of the budget."""
    noise_draws: str = BANK
    """Where the mirror's normals come from, a name in NOISE_DRAWS."""

    what: ClassVar[str] = "energies"
    closed_form: ClassVar[str] = "closed-form"
    correction_shares: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0, 1.5, 2.0)

    @cached_property
    def items(self) -> Items:
        """One item a node, or one an output channel."""
        return energy_items(self.sites, self.granularity)

    @cached_property
    def sides(self) -> Mapping[str, EnergySide | PricedEnergySide]:
        """The energies."""
        falls_with = falling_powers(self.noises)
        if self.most:
            limits = [
                PricedLimit(f"--max {name}={most:.6g}", most, self.prices[name])
                for name, most in self.most.items()
            ]
            if self.energy_per_mac is not None:
                asked = f"--energy-per-mac {self.energy_per_mac:.6g}"
                limits.append(PricedLimit(asked, self.energy_per_mac, self._mean(limits[0].prices)))
            return {ENERGIES: PricedEnergySide(self.items, tuple(limits), self.allowed, falls_with)}
        assert self.energy_per_mac is not None
        return {ENERGIES: EnergySide(self.items, self.energy_per_mac, self.allowed, falls_with)}

    def _mean(self, like: EnergyPrices) -> EnergyPrices:
        """The mean energy as what every item adds to it, at the known energies of other prices."""
        shares = self.items.sizes / self.items.sizes.sum()
        return EnergyPrices(like.energies, shares[:, None] * like.energies)

    def check_limit(self) -> None:
        """Raise UsageError for limits that no energies keep."""
        side = self.sides[ENERGIES]
        if isinstance(side, PricedEnergySide):
            side.check()

    def spent(self, energies: Levels) -> dict[str, float]:
        """What energies by node come to, by resource."""
        joined = self.items.join({node: np.atleast_1d(np.array(each)) for node, each in energies.items()})
        return {name: prices.spent(joined) for name, prices in self.prices.items()}

    def cost_meters(self) -> tuple[Mirror, Sequence[CostMeter]]:
        """Of the noise at unit energy."""
        modules = self.noisy(np.ones(len(self.items.sizes))).modules
        return self.mirror, [NoiseCosts(self.items, self.sites, modules, self.mirror)]

    def noisy(self, energies: np.ndarray) -> NoisyMirror:
        """The mirror with noise at `energies` [items]."""
        by_node = self.items.split(energies)
        return with_noise(self.mirror, self.sites, self.noises, by_node, self.allowed, self.noise_draws)

    def learner(self, start: Precision) -> EnergyLearner:
        """Noise whose energies are parameters, held to the budget; under a limit, to the mean that they start with."""
        budget = self.energy_per_mac
        if budget is None:
            budget = self.items.mean(start[ENERGIES])
        return EnergyLearner(self.noisy(start[ENERGIES]), self.items, budget, self.allowed.smallest)
