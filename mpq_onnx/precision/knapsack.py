"""Which width for which item, so that the summed cost is least and the budget is kept: the multiple-choice knapsack, exactly.

Prices first: the best mixture of choices (see continuous_knapsack) gives a price of capacity, a lower bound, and choices near
to the best. A choice whose cost at that price is further above the bound than a solution that is known cannot be in the best
one; what is left, few items near the price, is decided item by item (dynamic programming; Pisinger 1995, "A minimal algorithm
for the multiple-choice knapsack problem"): states are sums of capacity and cost, and a state goes when another has less of
both, or when the bound on what is left says that it cannot end below the best known. It takes floating-point costs of any scale
as they are, where a general solver has absolute tolerances.
"""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.precision.continuous_knapsack import Mixture, RestBound, best_mixture
from mpq_onnx.precision.items import WidthItems

ROUNDING = 1e-12
"""Relative: sums in another order must not be above the budget."""
MOST_STATES = 20_000
"""States kept at one item. More come up where many items of unequal sizes gain the same for each bit (a subset sum)."""
MOST_WORK = 4_000_000
"""States looked at in all, after which the best known is taken; far beyond what measured costs need."""
WORK_PER_ITEM = 400
"""What an item costs beside its states, in the time of so many states."""
BOUND_EVERY = 16
"""Items from one bound on the rest to the next; an older bound holds too, only less tightly."""


@dataclass(frozen=True)
class Selection:
    """One choice an item."""

    chosen: np.ndarray
    """int64 [items]."""
    gap: float
    """The summed cost is at most so much above the least possible; 0 where it is the least (up to rounding of sums)."""


def allocate_widths(items: WidthItems, costs: np.ndarray, budget: float) -> np.ndarray:
    """The width of every item, of least summed cost; among equal costs, more bits.

    Args:
        costs: float64 [items, choices].
        budget: mean width, at least that of the smallest choices.

    Returns:
        float64 [items], with items.mean(...) <= budget (up to rounding).

    Raises:
        UsageError: the budget is below the mean of the smallest choices.
        ModelError: a cost that is no number.
    """
    check_costs(costs)
    rows = np.arange(len(items.sizes))
    least = items.choices[0]
    amounts = (items.bits - least) * items.sizes[:, None]
    capacity = float((budget * (1 + ROUNDING) - least) * items.sizes.sum())
    if amounts[:, 0].sum() > max(capacity, 0.0) or capacity < 0:
        least = items.mean(items.bits[:, 0])
        raise UsageError(
            f"a mean of {budget:g} bits cannot be reached: the least that the choices allow is {least:g}"
        )
    own = np.asarray(costs, np.float64)[rows[:, None], items.effective]
    return items.bits[rows, select(amounts, own, capacity).chosen]


def check_costs(costs: np.ndarray) -> None:
    """Raise ModelError for costs that say nothing."""
    if not np.isfinite(costs).all():
        raise ModelError(
            "the cost of a width is not a finite number: the model or its data hold NaN or infinity"
        )


def select(amounts: np.ndarray, costs: np.ndarray, capacity: float) -> Selection:
    """One choice an item, of least summed cost, whose amounts are at most the capacity in sum.

    Args:
        amounts: float64 [items, choices], ascending along choices, the first ones at most the capacity in sum.
        costs: float64 [items, choices].
    """
    mixture = best_mixture(amounts, costs, _usable(amounts, capacity))
    found = Selection(mixture.chosen, 0.0) if mixture.is_whole else _Search(amounts, costs, mixture).run()
    return Selection(_more_for_nothing(amounts, costs, found.chosen, capacity), found.gap)


def _usable(amounts: np.ndarray, capacity: float) -> float:
    """The largest sum of amounts up to the capacity that their common divisor allows; the capacity where they are not whole."""
    if amounts.max(initial=0.0) >= 2**53 or not (amounts == np.rint(amounts)).all():
        return capacity
    divisor = int(np.gcd.reduce(amounts.astype(np.int64), axis=None))
    return float(capacity // divisor * divisor) if divisor else capacity


@dataclass(frozen=True)
class _States:
    """Partial solutions; the undecided items stay where the mixture has them. Every array is [states]."""

    amount: np.ndarray
    """Capacity taken beside the mixture's."""
    cost: np.ndarray
    """Cost beside the mixture's."""
    parent: np.ndarray
    """State of the item before."""
    choice: np.ndarray
    """Of this item."""

    def only(self, kept: np.ndarray) -> "_States":
        return _States(self.amount[kept], self.cost[kept], self.parent[kept], self.choice[kept])


class _Search:
    """Decides the items near the price, one after the other."""

    def __init__(self, amounts: np.ndarray, costs: np.ndarray, mixture: Mixture) -> None:
        rows = np.arange(len(costs))
        self.mixture = mixture
        self.amounts = amounts - amounts[rows, mixture.chosen][:, None]
        self.costs = costs - costs[rows, mixture.chosen][:, None]
        # At the price, each item's own best choice is the mixture's: what another one costs more.
        self.regrets = np.maximum(self.costs + mixture.price * self.amounts, 0.0)
        self.best = _filled(mixture)
        self.best_cost = float(self.costs[rows, self.best].sum())
        self.dropped = np.inf

    @property
    def gap(self) -> float:
        """Best known cost less the bound."""
        return self.best_cost + self.mixture.price * self.mixture.room

    def run(self) -> Selection:
        mixture = self.mixture
        others = np.arange(self.costs.shape[1]) != mixture.chosen[:, None]
        least = np.where(others, self.regrets, np.inf).min(axis=1)
        near = np.flatnonzero(least < self.gap)
        order = near[np.argsort(least[near], kind="stable")]
        undecided = np.zeros(len(least), bool)
        undecided[order] = True
        path: list[_States] = []
        work = 0
        states = _States(np.zeros(1), np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.int64))
        for position, item in enumerate(order):
            if least[item] >= self.gap or not len(states.amount):
                break  # no other choice of this item, or of any after it, is in a better solution
            if work > MOST_WORK:
                return Selection(self.best, self.gap)
            undecided[item] = False
            if position % BOUND_EVERY == 0:
                rest = RestBound(mixture, undecided)
            states = self._decide(item, states)
            work += len(states.amount) + WORK_PER_ITEM
            self._keep_best(states, path, order)
            states = self._promising(states, rest)
            path.append(states)
        return Selection(self.best, max(self.gap - self.dropped, 0.0))

    def _decide(self, item: int, states: _States) -> _States:
        """Every state with every choice of the item that may still be in a better solution."""
        choices = np.flatnonzero(self.regrets[item] < self.gap)
        count = len(states.amount)
        return _States(
            np.add.outer(self.amounts[item, choices], states.amount).ravel(),
            np.add.outer(self.costs[item, choices], states.cost).ravel(),
            np.tile(np.arange(count), len(choices)),
            np.repeat(choices, count),
        )

    def _keep_best(self, states: _States, path: list[_States], order: np.ndarray) -> None:
        """Every state that fits is a solution."""
        fitting = np.flatnonzero(states.amount <= self.mixture.room)
        if not len(fitting):
            return
        index = int(fitting[states.cost[fitting].argmin()])
        if states.cost[index] >= self.best_cost:
            return
        self.best_cost = float(states.cost[index])
        self.best = self.mixture.chosen.copy()
        for item, each in zip(order[len(path) :: -1], [states, *reversed(path)], strict=True):
            self.best[item] = each.choice[index]
            index = int(each.parent[index])

    def _promising(self, states: _States, rest: RestBound) -> _States:
        """The states that can still end below the best known, by amount, each cheaper than all that take less."""
        price, room = self.mixture.price, self.mixture.room
        order = np.lexsort((states.cost, states.amount))
        cheapest = np.minimum.accumulate(states.cost[order])
        states = states.only(order[np.r_[True, states.cost[order][1:] < cheapest[:-1]]])
        bound = np.maximum(states.cost + price * states.amount, 0.0) + rest(room - states.amount)
        kept = np.flatnonzero(bound < self.gap * (1 - ROUNDING))
        if len(kept) > MOST_STATES:
            # The most promising ones; among equals, spread over all amounts.
            spread = np.arange(len(kept)) * 0.6180339887498949 % 1.0
            ranked = kept[np.lexsort((spread, bound[kept]))]
            self.dropped = min(self.dropped, float(bound[ranked[MOST_STATES]]))
            kept = np.sort(ranked[:MOST_STATES])
        return states.only(kept)


def _filled(mixture: Mixture) -> np.ndarray:
    """The mixture's choices, with every later step that still fits."""
    steps, chosen, room = mixture.steps, mixture.chosen.copy(), mixture.room
    smallest = np.minimum.accumulate(steps.amount[::-1])[::-1]
    for index in range(mixture.taken, len(steps.item)):
        if smallest[index] > room:
            break
        item = steps.item[index]
        if steps.amount[index] <= room and chosen[item] == steps.before[index]:
            chosen[item] = steps.after[index]
            room -= steps.amount[index]
    return chosen


def _more_for_nothing(
    amounts: np.ndarray, costs: np.ndarray, chosen: np.ndarray, capacity: float
) -> np.ndarray:
    """Spend what is left on choices that take more and cost no more, a step an item at a time, so that all get some."""
    rows, chosen = np.arange(len(costs)), chosen.copy()
    room = capacity - float(amounts[rows, chosen].sum())
    while True:
        free = (costs <= costs[rows, chosen][:, None]) & (amounts > amounts[rows, chosen][:, None])
        moved = False
        for item in np.flatnonzero(free.any(axis=1)):
            target = int(free[item].argmax())
            more = amounts[item, target] - amounts[item, chosen[item]]
            if more <= room:
                chosen[item], room, moved = target, room - more, True
        if not moved:
            return chosen
