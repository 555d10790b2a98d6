"""The square-root law and its like: energies at which the summed cost of noise is least."""

import numpy as np

BISECTIONS = 80
WIDEST = 60.0
"""ln of the largest ratio between an energy and the mean that is looked at."""


def least_noise(costs: np.ndarray, falls_with: np.ndarray, sizes: np.ndarray, total: float) -> np.ndarray:
    """Energies E that minimise sum over items and models of cost / E^p under sum(size * E) = total, up to a common factor.

    Where all models fall with the same power p, E is proportional to (cost / size)^(1 / (p + 1)): the square root for averaged
    noise, p = 1. Models that do not fall, p = 0, have no say.

    Args:
        costs: float64 [items, models], at E = 1.
        falls_with: float64 [models]: the powers p.
        sizes: float64 [items]: MACs.
        total: sum(size * E).
    """
    has_say = falls_with > 0
    costs, powers = costs[:, has_say], falls_with[has_say]
    if not len(powers):
        return np.ones(len(sizes))
    if (powers == powers[0]).all():
        return (costs.sum(axis=1) / sizes) ** (1 / (powers[0] + 1))
    mean = total / sizes.sum()
    slopes = (
        costs * powers * mean**-powers / sizes[:, None]
    )  # what a unit of energy gains at the mean, in units of the mean

    def at_price(log_price: float) -> np.ndarray:
        """ln(E / mean) at which a unit of energy gains exp(log_price)."""
        low, high = np.full(len(sizes), -WIDEST), np.full(len(sizes), WIDEST)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            with np.errstate(divide="ignore"):
                gain = np.log((slopes * np.exp(-(powers + 1) * middle[:, None])).sum(axis=1))
            low, high = np.where(gain > log_price, middle, low), np.where(gain > log_price, high, middle)
        return high

    with np.errstate(divide="ignore"):
        gains = np.log(slopes.sum(axis=1))
    reach = (powers.max() + 1) * WIDEST
    low, high = np.nanmin(np.where(np.isfinite(gains), gains, np.inf)) - reach, gains.max() + reach
    if not (np.isfinite(low) and np.isfinite(high)):
        return costs.sum(axis=1)  # nothing costs anything, or some cost is no number: said where it is used
    for _ in range(BISECTIONS):
        price = (low + high) / 2
        spent = (np.exp(at_price(price)) * sizes).sum() / sizes.sum()
        low, high = (price, high) if spent > 1 else (low, price)
    return mean * np.exp(at_price(high))


def corrected_costs(
    costs: np.ndarray, start: np.ndarray, learned: np.ndarray, share: float, falls_with: np.ndarray
) -> np.ndarray:
    """Where the wanted energy goes from E0 to E, a cost that falls with E^p is (E / E0)^(p + 1) times what it was.

    Args:
        costs: float64 [items, models].
        start, learned: float64 [items], E0 and E.
        share: of the way from one to the other.
        falls_with: float64 [models]: the powers p.
    """
    return costs * (learned / start)[:, None] ** (share * (falls_with + 1))
