"""The multiple-choice knapsack with choices that may be mixed: solved by one sort, a lower bound of the exact one.

Mixing lets each item go along the lower convex hull of its choices, in steps; the best mixture takes the steepest steps of
all items until the capacity is full. The slope of the step that no longer fits is the price of capacity (the Lagrangian
multiplier).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HullSteps:
    """Steps of all items along their hulls, steepest first; those of one item in order. Every array is [steps]."""

    item: np.ndarray
    before: np.ndarray
    """Choice that the step leaves."""
    after: np.ndarray
    """Choice that it goes to."""
    slope: np.ndarray
    """Cost gained for each unit of capacity; above 0."""
    amount: np.ndarray
    """Capacity taken."""


def hull_steps(amounts: np.ndarray, costs: np.ndarray) -> HullSteps:
    """Every item's way from its first choice to its cheapest one.

    Args:
        amounts: float64 [items, choices], ascending along choices: capacity taken.
        costs: float64 [items, choices].
    """
    rows = np.arange(len(costs))
    current, last = np.zeros(len(costs), np.int64), np.full(len(costs), np.inf)
    found = [HullSteps(*(np.zeros(0, np.int64),) * 3, np.zeros(0), np.zeros(0))]
    for _ in range(costs.shape[1] - 1):
        more = amounts - amounts[rows, current][:, None]
        gain = costs[rows, current][:, None] - costs
        with np.errstate(all="ignore"):
            slopes = np.where(more > 0, gain / more, -np.inf)
        target = slopes.shape[1] - 1 - slopes[:, ::-1].argmax(axis=1)  # of equal slopes, the furthest
        # A hull's slopes fall; rounding must not turn an item's steps around.
        slope = np.minimum(slopes[rows, target], last)
        item = np.flatnonzero(slope > 0)
        if not len(item):
            break
        to = target[item]
        found.append(HullSteps(item, current[item], to, slope[item], more[item, to]))
        current[item] = to
        last = slope
    joined = {
        name: np.concatenate([getattr(steps, name) for steps in found])
        for name in ("item", "before", "after", "slope", "amount")
    }
    order = np.argsort(-joined["slope"], kind="stable")
    return HullSteps(**{name: array[order] for name, array in joined.items()})


@dataclass(frozen=True)
class Mixture:
    """The best mixture of choices, less the one step that is taken in part."""

    steps: HullSteps
    taken: int
    """How many of the steps fit whole."""
    chosen: np.ndarray
    """int64 [items]: the choices that these lead to."""
    room: float
    """Capacity that is left then."""

    @property
    def is_whole(self) -> bool:
        """True where every step fits: nothing is left to gain."""
        return self.taken == len(self.steps.item)

    @property
    def price(self) -> float:
        """What a unit of capacity is worth; 0 where there is more than can be used."""
        return 0.0 if self.is_whole else float(self.steps.slope[self.taken])


def best_mixture(amounts: np.ndarray, costs: np.ndarray, capacity: float) -> Mixture:
    """See the module; shapes as in hull_steps."""
    steps = hull_steps(amounts, costs)
    total = np.cumsum(steps.amount)
    room = capacity - float(amounts[:, 0].sum())
    taken = int(np.searchsorted(total, room, side="right"))
    chosen = np.zeros(len(costs), np.int64)
    chosen[steps.item[:taken]] = steps.after[:taken]  # the last of an item's steps is the one that stays
    return Mixture(steps, taken, chosen, room - (float(total[taken - 1]) if taken else 0.0))


class RestBound:
    """What the items that are not yet decided add at least, above the price of the capacity that they are given."""

    def __init__(self, mixture: Mixture, undecided: np.ndarray) -> None:
        """Args: undecided: bool [items]."""
        steps, price = mixture.steps, mixture.price
        allowed = undecided[steps.item]
        up, down = allowed.copy(), allowed.copy()
        up[: mixture.taken] = down[mixture.taken :] = False
        self.price = price
        self.more = _curve(steps.amount[up], price - steps.slope[up])
        self.less = _curve(steps.amount[down][::-1], steps.slope[down][::-1] - price)

    def __call__(self, room: np.ndarray) -> np.ndarray:
        """float64 [states] for `room` [states] beside what the undecided take now; infinite where they cannot give enough."""
        unused = np.maximum(room - self.more[0][-1], 0.0)
        spent = np.interp(room, *self.more) + self.price * unused
        missing = -room
        saved = np.interp(missing, *self.less)
        impossible = missing > self.less[0][-1] * (1 + 1e-12)
        return np.where(room >= 0, spent, np.where(impossible, np.inf, saved))


def _curve(amount: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(summed amounts, summed costs) of steps, from (0, 0) on."""
    zero = np.zeros(1)
    return (
        np.concatenate([zero, np.cumsum(amount)]),
        np.concatenate([zero, np.cumsum(amount * np.maximum(rate, 0.0))]),
    )
