"""What a budget of bits is a budget of: the mean over all elements, or what the largest tensor may take.

A resource is a few functions and one line in registries.RESOURCES. Formulas are for numpy arrays and torch tensors alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.knapsack import ROUNDING, allocate_widths, check_costs

Array = Any  # numpy.ndarray or torch.Tensor


@dataclass(frozen=True)
class Resource:
    """How widths are added up, and how they are chosen so that a budget is kept."""

    spent: Callable[[Array, Array], Array]
    """(sizes [items], bits [items]) -> what is compared with the budget."""
    fill: Callable[[WidthItems, np.ndarray, float], np.ndarray]
    """(items, costs [items, choices], budget) -> allowed widths [items] of least summed cost that keep the budget."""


def mean_bits(sizes: Array, bits: Array) -> Array:
    """sum(bits * sizes) / sum(sizes)."""
    return (bits * sizes).sum() / sizes.sum()


def peak_bits(sizes: Array, bits: Array) -> Array:
    """Memory of the tensor that takes most, in bits an element of the largest tensor (arXiv 2102.06366, maximum budget)."""
    return (bits * sizes).max() / sizes.max()


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
MEAN_BITS, PEAK_BITS = Resource(mean_bits, allocate_widths), Resource(peak_bits, fill_peak)
