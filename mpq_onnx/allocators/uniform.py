"""Method "uniform": the same width everywhere, the baseline that stands beside every result, at the same budget.

Where no whole width meets the budget, it has the most levels L with log2(L) <= budget, 5 for 2.5 bits, whatever the choices:
fewer levels than a choice has are stored like it. The whole width below it is measured as well.
"""

import math

import numpy as np

from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate

NAME = "uniform"
WHOLE_NAME = "uniform-whole"
"""The whole width below, where uniform has none."""


def propose(problem: Problem) -> list[Candidate]:
    """Uniform, and the whole width below where there is a fractional one."""
    budget = problem.budget
    weight_bits = uniform_bits(problem.weights, budget.weight_bits)
    activation_bits = uniform_bits(problem.activations, budget.activation_bits)
    whole = np.floor(weight_bits), np.floor(activation_bits)
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
