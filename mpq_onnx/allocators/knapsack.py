"""Which width for which item, so that the summed cost is least and the budget is kept: a multiple-choice knapsack.

The Lagrangian solution takes each item along the lower convex hull of its costs, steepest step first; what then is left of
the budget is filled with the best single steps that still fit. The result is never above the budget, and differs from the
exact optimum by less than one step.
"""

import heapq

import numpy as np

from mpq_onnx.allocators.items import WidthItems


def allocate_widths(items: WidthItems, costs: np.ndarray, budget: float) -> np.ndarray:
    """The width of every item.

    Args:
        costs: float64 [items, choices].
        budget: mean width, at least the smallest choice.

    Returns:
        float64 [items], with items.mean(...) <= budget.
    """
    capacity = budget * items.sizes.sum() * (1 + 1e-12) - items.choices[0] * items.sizes.sum()
    chosen = np.zeros(len(items.sizes), np.int64)
    queue = [step for item in range(len(chosen)) if (step := _best_step(items, costs, item, 0)) is not None]
    heapq.heapify(queue)
    waiting = []
    while queue:
        step = heapq.heappop(queue)
        _, item, target = step
        size = (items.choices[target] - items.choices[chosen[item]]) * items.sizes[item]
        if size > capacity:
            waiting.append(item)
            continue
        capacity -= size
        chosen[item] = target
        following = _best_step(items, costs, item, target)
        if following is not None:
            heapq.heappush(queue, following)
    _fill(items, costs, chosen, waiting, capacity)
    return items.choices[chosen]


def _best_step(
    items: WidthItems, costs: np.ndarray, item: int, current: int
) -> tuple[float, int, int] | None:
    """(-gain per bit of budget, item, choice) of the steepest step up, the hull's next edge; None if nothing is gained."""
    more_bits = (items.choices[current + 1 :] - items.choices[current]) * items.sizes[item]
    if not len(more_bits):
        return None
    slopes = (costs[item, current] - costs[item, current + 1 :]) / more_bits
    best = int(np.argmax(slopes))
    return (-float(slopes[best]), item, current + 1 + best) if slopes[best] > 0 else None


def _fill(
    items: WidthItems, costs: np.ndarray, chosen: np.ndarray, waiting: list[int], capacity: float
) -> None:
    """Spend what is left on smaller steps of the items whose hull step did not fit, best gain first."""
    while True:
        best = (0.0, -1, -1)
        for item in waiting:
            for target in range(chosen[item] + 1, len(items.choices)):
                size = (items.choices[target] - items.choices[chosen[item]]) * items.sizes[item]
                gain = costs[item, chosen[item]] - costs[item, target]
                if size <= capacity and gain > best[0]:
                    best = (gain, item, target)
        _, item, target = best
        if item < 0:
            return
        capacity -= (items.choices[target] - items.choices[chosen[item]]) * items.sizes[item]
        chosen[item] = target
