"""What a budget of bits is a budget of: the mean over all elements, or what the largest tensor may take.

A measure is two functions and one line in registries.ACTIVATION_BUDGETS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.knapsack import ROUNDING, allocate_widths, check_costs


@dataclass(frozen=True)
class Measure:
    """How widths are added up, and how they are chosen so that a budget is kept."""

    shares: Callable[[np.ndarray], np.ndarray]
    """sizes [items] -> float64 [sums, items]: the largest of shares @ bits is compared with the budget."""
    fill: Callable[[WidthItems, np.ndarray, float], np.ndarray]
    """(items, costs [items, choices], budget) -> allowed widths [items] of least summed cost that keep the budget."""

    def spent(self, sizes: np.ndarray, bits: np.ndarray) -> float:
        """What is compared with the budget; both arrays [items]."""
        return float((self.shares(sizes) @ bits).max())


def mean_bits(sizes: np.ndarray) -> np.ndarray:
    """sum(bits * sizes) / sum(sizes)."""
    return sizes[None] / sizes.sum()


def peak_bits(sizes: np.ndarray) -> np.ndarray:
    """Memory of the tensor that takes most, in bits an element of the largest tensor (arXiv 2102.06366, maximum budget)."""
    return np.diag(sizes / sizes.max())


def fill_peak(items: WidthItems, costs: np.ndarray, budget: float) -> np.ndarray:
    """Every tensor may fill the largest one's memory: none can gain by another's restraint. Of equal costs, more bits.

    Raises:
        ModelError: a cost that is no number.
    """
    check_costs(costs)
    room = budget * items.sizes.max() / items.sizes * (1 + ROUNDING)
    fits = items.bits <= np.maximum(room, items.bits[:, 0])[:, None]
    rows = np.arange(len(costs))
    wanted = np.where(fits, costs[rows[:, None], items.effective], np.inf)[:, ::-1].argmin(axis=1)
    return items.bits[rows, len(items.choices) - 1 - wanted]


MEAN = "mean"
MEAN_BITS, PEAK_BITS = Measure(mean_bits, allocate_widths), Measure(peak_bits, fill_peak)
