"""What a budget of bits is a budget of: the mean over all elements, or what the largest tensor may take.

A measure is a few functions and one line in BUDGET_MEASURES. Formulas are written for numpy arrays and torch tensors alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.knapsack import allocate_widths

Array = Any  # numpy.ndarray or torch.Tensor


@dataclass(frozen=True)
class BudgetMeasure:
    """How widths are added up, and how they are chosen so that a budget is kept."""

    spent: Callable[[Array, Array], Array]
    """(sizes [items], bits [items]) -> what is compared with the budget."""
    fill: Callable[[WidthItems, np.ndarray, float], np.ndarray]
    """(items, costs [items, choices], budget) -> allowed widths [items] of least summed cost that keep the budget."""
    project: Callable[[WidthItems, np.ndarray, float], np.ndarray]
    """(items, learned widths [items], budget) -> allowed widths near to them that keep the budget."""


def mean_bits(sizes: Array, bits: Array) -> Array:
    """sum(bits * sizes) / sum(sizes)."""
    return (bits * sizes).sum() / sizes.sum()


def peak_bits(sizes: Array, bits: Array) -> Array:
    """Memory of the tensor that takes most, in bits an element of the largest tensor (arXiv 2102.06366, maximum budget)."""
    return (bits * sizes).max() / sizes.max()


def project_to_mean(items: WidthItems, learned: np.ndarray, budget: float) -> np.ndarray:
    """Where the training has settled, one more bit gains the same everywhere; with quantization error falling by 4 a bit, the
    cost of width c for an item that learned b is then proportional to size * 4^(b - c), and the knapsack does the rest.
    """
    costs = items.sizes[:, None] * 4.0 ** (learned[:, None] - items.choices[None, :])
    return allocate_widths(items, costs, budget)


def fill_peak(items: WidthItems, costs: np.ndarray, budget: float) -> np.ndarray:
    """Every tensor gets the bits that fill the largest one's memory: no tensor can gain by another's restraint."""
    return _largest_allowed(items, np.full(len(items.sizes), np.inf), budget)


def project_to_peak(items: WidthItems, learned: np.ndarray, budget: float) -> np.ndarray:
    """The allowed width nearest to the learned one, or the largest below it that fits."""
    distance = np.abs(learned[:, None] - items.choices[None, :])
    return _largest_allowed(items, items.choices[distance.argmin(axis=1)], budget)


def _largest_allowed(items: WidthItems, wanted: np.ndarray, budget: float) -> np.ndarray:
    room = budget * items.sizes.max() / items.sizes * (1 + 1e-12)
    limit = np.minimum(wanted, room)
    index = np.searchsorted(items.choices, limit, side="right") - 1
    return items.choices[index.clip(0)]


MEAN = "mean"
BUDGET_MEASURES: dict[str, BudgetMeasure] = {
    MEAN: BudgetMeasure(mean_bits, allocate_widths, project_to_mean),
    "max": BudgetMeasure(peak_bits, fill_peak, project_to_peak),
}
