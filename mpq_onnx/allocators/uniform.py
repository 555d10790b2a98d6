"""Method "uniform": the same width everywhere, the baseline that stands beside every result, at the same budget.

Where no whole width meets the budget, it has the most levels L with log2(L) <= budget, 5 for 2.5 bits, whatever the choices:
fewer levels than a choice has are stored like it. The widest choice below it is measured as well, the whole width as a rule.
"""

import math

import numpy as np

from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate

NAME = "uniform"
WHOLE_NAME = "uniform-whole"
"""The widest choice below, where uniform's width is none."""


def propose(problem: Problem) -> list[Candidate]:
    """Uniform, and the widest choice below where its width is none."""
    budget = problem.budget
    weight_bits = uniform_bits(problem.weights, budget.weight_bits)
    activation_bits = uniform_bits(problem.activations, budget.activation_bits)
    whole = widest_choice(problem.weights, weight_bits), widest_choice(problem.activations, activation_bits)
    candidates = [make_candidate(problem, NAME, weight_bits, activation_bits)]
    if (whole[0] < weight_bits).any() or (whole[1] < activation_bits).any():
        candidates.append(make_candidate(problem, WHOLE_NAME, *whole))
    return candidates


def uniform_bits(items: WidthItems, budget: float | None) -> np.ndarray:
    """The width of the most levels that the budget allows, float64 [items]; never above the widest choice."""
    if budget is None:
        return np.zeros(0)
    most = min(budget, float(items.choices[-1]))
    levels = math.floor(2.0**most * (1 + 1e-12))
    return np.full(len(items.sizes), math.log2(levels))


def widest_choice(items: WidthItems, bits: np.ndarray) -> np.ndarray:
    """The widest choice that is not above `bits` [items]."""
    index = np.searchsorted(items.choices, bits * (1 + 1e-12), side="right") - 1
    return items.choices[index.clip(0)]
