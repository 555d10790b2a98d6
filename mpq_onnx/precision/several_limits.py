"""One choice an item, so that the summed cost is least and several sums of amounts stay within their limits.

At prices of the resources every item takes what is cheapest for itself (Lagrangian relaxation; Everett 1963): what all take
together then costs least of all that take as much. Prices in given proportions are raised until every limit holds; the
proportions are searched for. What is left over is spent on single items.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

BISECTIONS = 50
PARTS = 16
"""Of each price, in the first look at proportions."""
ROUNDS = 60
"""Of the finer search."""
HIGHEST = 700.0
"""ln of a price: beyond it float64 overflows."""


def least_under_all(costs: np.ndarray, amounts: Sequence[np.ndarray], rooms: Sequence[float]) -> np.ndarray:
    """The choice of every item, int64 [items].

    Args:
        costs: float64 [items, choices].
        amounts: of every resource, float64 [items, choices].
        rooms: the most of each. Some choice that all items can make alike keeps them all.
    """
    shares = [each / (room or 1.0) for each, room in zip(amounts, rooms, strict=True)]
    rows = np.arange(len(costs))

    def fits(chosen: np.ndarray) -> bool:
        return all(each[rows, chosen].sum() <= room for each, room in zip(amounts, rooms, strict=True))

    def cost(chosen: np.ndarray) -> float:
        return float(costs[rows, chosen].sum())

    alike = [np.full(len(costs), place) for place in range(costs.shape[1])]
    smallest = min(alike, key=lambda chosen: max(each[rows, chosen].sum() for each in shares))
    best = min(filter(fits, alike), key=cost, default=smallest)  # a sum may differ by its order of adding

    def at(proportions: np.ndarray) -> np.ndarray:
        """What is chosen at the lowest prices of these proportions that keep all limits."""
        priced = sum(part * each for part, each in zip(proportions, shares, strict=True))
        found, low, high = None, -HIGHEST, HIGHEST
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            chosen = np.argmin(costs + np.exp(middle) * priced, axis=1)
            if fits(chosen):
                found, high = chosen, middle
            else:
                low = middle
        return best if found is None else found

    def proportions_of(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(np.append(logits, 0.0) - max(logits.max(initial=0.0), 0.0))
        return np.asarray(powers / powers.sum())

    others = len(shares) - 1
    looks = np.stack(np.meshgrid(*[np.linspace(-8, 8, PARTS)] * others), axis=-1).reshape(-1, others)
    start = min(looks, key=lambda logits: cost(at(proportions_of(logits))))
    refined = minimize(
        lambda logits: cost(at(proportions_of(logits))),
        start,
        method="Nelder-Mead",
        options={"maxiter": ROUNDS},
    )
    found = min((best, at(proportions_of(start)), at(proportions_of(refined.x))), key=cost)
    return _spent(found, costs, amounts, rooms)


def _spent(
    chosen: np.ndarray, costs: np.ndarray, amounts: Sequence[np.ndarray], rooms: Sequence[float]
) -> np.ndarray:
    """Give single items what costs less and still fits, those that gain most first."""
    chosen, rows = chosen.copy(), np.arange(len(costs))
    gains = costs[rows, chosen] - costs.min(axis=1)
    left = [room - each[rows, chosen].sum() for each, room in zip(amounts, rooms, strict=True)]
    for item in np.argsort(-gains):
        more = [each[item] - each[item, chosen[item]] for each in amounts]
        open_ones = np.all([each <= room for each, room in zip(more, left, strict=True)], axis=0)
        place = int(np.argmin(np.where(open_ones, costs[item], np.inf)))
        if costs[item, place] < costs[item, chosen[item]]:
            left = [room - each[place] for each, room in zip(more, left, strict=True)]
            chosen[item] = place
    return chosen
