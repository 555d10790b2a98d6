"""Energies per MAC under limits on what the device takes for them: converters, lasers, whatever a cost table says.

What a node takes at an energy per MAC need not be proportional to it, as a converter of more bits, or its idle power, is not.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpq_onnx.arithmetic.noise.energy_levels import EnergyLevels
from mpq_onnx.arithmetic.noise.trade_off import corrected_costs
from mpq_onnx.errors import UsageError
from mpq_onnx.precision.items import Items
from mpq_onnx.precision.knapsack import ROUNDING, check_costs, select
from mpq_onnx.precision.limits import not_below
from mpq_onnx.precision.several_limits import least_under_all

CHOICES = 160
"""Energies to choose from, in equal ratios."""
BISECTIONS = 60


@dataclass(frozen=True)
class EnergyPrices:
    """What every item takes of one resource at its energy; linear between known energies."""

    energies: np.ndarray
    """float64 [known], ascending: energies per MAC."""
    amounts: np.ndarray
    """float64 [items, known]."""
    fixed: float = 0.0
    """What is taken whatever the energies are."""
    reached_by_some: float = 0.0
    """The highest energy that an item alone is known at, where the others are not."""

    def at(self, energies: np.ndarray) -> np.ndarray:
        """float64 [items]: what each takes at its own of `energies` [items]."""
        place = np.searchsorted(self.energies, energies, side="right").clip(1, max(len(self.energies) - 1, 1))
        if len(self.energies) == 1:
            return self.amounts[:, 0]
        low, high = self.energies[place - 1], self.energies[place]
        share = ((energies - low) / (high - low)).clip(0, 1)
        rows = np.arange(len(energies))
        return self.amounts[rows, place - 1] * (1 - share) + self.amounts[rows, place] * share

    def spent(self, energies: np.ndarray) -> float:
        """Of the whole network; energies: float64 [items]."""
        return self.fixed + math.fsum(self.at(energies))


@dataclass(frozen=True)
class PricedLimit:
    """The most that the energies may take of one resource."""

    asked: str
    """By which option, as it is written on the command line."""
    most: float
    prices: EnergyPrices

    def holds(self, energies: np.ndarray) -> bool:
        """Do float64 [items] keep it?"""
        return self.prices.spent(energies) <= self.most * (1 + ROUNDING)

    @property
    def room(self) -> float:
        """What the energies may take."""
        return self.most * (1 + ROUNDING) - self.prices.fixed


@dataclass(frozen=True)
class PricedEnergySide:
    """The energies under limits on resources."""

    items: Items
    limits: tuple[PricedLimit, ...]
    """At least one; all of the same known energies."""
    allowed: EnergyLevels
    falls_with: np.ndarray
    """float64 [noise models]: the power of the energy that each model's variance falls with."""

    @property
    def allows_everything(self) -> bool:
        """Every item may have the highest known energy."""
        return self._fits(self.equal(self.choices[-1]))

    @cached_property
    def _by_choice(self) -> list[np.ndarray]:
        """Of every limit, float64 [items, choices]: what each item takes at each energy that it may get."""
        return [
            np.stack([limit.prices.at(self.equal(energy)) for energy in self.choices], axis=1)
            for limit in self.limits
        ]

    @cached_property
    def choices(self) -> np.ndarray:
        """float64, ascending: energies that an item may get, all within the known ones."""
        known = self.limits[0].prices.energies
        found = np.union1d(np.geomspace(known[0], known[-1], CHOICES).clip(known[0], known[-1]), known)
        if self.allowed.smallest:
            found = np.unique(np.rint(found[found >= self.allowed.smallest - 0.5]))
            found = found[(found >= known[0]) & (found <= known[-1])]
        if not len(found):
            raise UsageError(
                f"--energy-levels {self.allowed.name}: the cost table knows energies from {known[0]:g} to {known[-1]:g} alone"
            )
        return found

    def check(self) -> None:
        """Raise UsageError where even the smallest energies take too much; says what can be reached."""
        for limit in self.limits:
            equal = min(limit.prices.spent(self.equal(energy)) for energy in self.choices)
            if equal > limit.most * (1 + ROUNDING):
                raise UsageError(
                    f"{limit.asked}: cannot be reached; the smallest, at equal energies, is"
                    f" {not_below(equal)}"
                )
        if not any(self._fits(self.equal(energy)) for energy in self.choices):
            asked = ", ".join(limit.asked for limit in self.limits)
            raise UsageError(f"{asked}: cannot be kept together at equal energies; raise one of them")

    def uniform(self) -> np.ndarray:
        """The same energy for every MAC, float64 [items]: the most that the limits allow."""
        best = max(energy for energy in self.choices if self._fits(self.equal(energy)))
        place = int(np.searchsorted(self.choices, best))
        if self.allowed.smallest or place + 1 == len(self.choices):
            return self.equal(best)
        low, high = best, float(self.choices[place + 1])
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._fits(self.equal(middle)) else (low, middle)
        return self.equal(low)

    def allowed_below(self, levels: np.ndarray) -> np.ndarray:
        """Uniform energies are allowed ones."""
        return levels

    def solve(self, costs: np.ndarray) -> np.ndarray:
        """Energies of least summed cost, of several limits nearly so; costs: float64 [items, noise models], at unit energy."""
        check_costs(costs)
        by_choice = np.einsum("im,mc->ic", costs, self.choices ** -self.falls_with[:, None])
        if len(self.limits) > 1:
            return self.choices[
                least_under_all(by_choice, self._by_choice, [each.room for each in self.limits])
            ]
        # The knapsack wants amounts that rise; a device may well take less for more.
        (own,) = self._by_choice
        order = np.argsort(own, axis=1, kind="stable")
        amounts, ordered = (np.take_along_axis(each, order, axis=1) for each in (own, by_choice))
        chosen = select(amounts, ordered, self.limits[0].room).chosen
        return self.choices[np.take_along_axis(order, chosen[:, None], axis=1)[:, 0]]

    def project(self, learned: np.ndarray) -> np.ndarray:
        """Allowed energies in the proportions of `learned` that keep the limits, within those that are known."""
        scaled = self._scaled(learned)
        if not self._fits(scaled):  # where more is not always dearer, no factor need keep the limit
            return self.uniform()
        places = np.searchsorted(self.choices, scaled * (1 + ROUNDING), side="right") - 1
        if not self.allowed.smallest:
            return scaled
        lowered = self.choices[places.clip(0)]
        return lowered if self._fits(lowered) else self.uniform()

    def corrected(
        self, costs: np.ndarray, start: np.ndarray, learned: np.ndarray, share: float
    ) -> np.ndarray:
        """The costs that a share of the way from `start` to `learned` would follow from (see trade_off)."""
        return corrected_costs(costs, start, learned, share, self.falls_with)

    def equal(self, energy: float) -> np.ndarray:
        """float64 [items]: the same for all."""
        return np.full(len(self.items.sizes), float(energy))

    def _fits(self, energies: np.ndarray) -> bool:
        return all(limit.holds(energies) for limit in self.limits)

    def _scaled(self, wanted: np.ndarray) -> np.ndarray:
        """`wanted` times the largest factor that keeps the limits, cut to what is known."""
        ends = self.choices[0], self.choices[-1]

        def at(log_factor: float) -> np.ndarray:
            return (wanted * math.exp(log_factor)).clip(*ends)

        low, high = math.log(ends[0] / wanted.max()), math.log(ends[1] / wanted.min())
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._fits(at(middle)) else (low, middle)
        return at(high) if self._fits(at(high)) else at(low)
