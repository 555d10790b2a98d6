"""Method "gradient": learn log2 of every width by gradient descent (arXiv 2102.06365 and 2102.06366).

Forward, every tensor is quantized at the nearest allowed width; backward, rounding is passed straight through, for values
and for widths. Loss: task + lambda * (max(0, mean weight bits - budget) + max(0, mean activation bits - budget)), Adam. The
weights themselves are never touched.
"""

import numpy as np

from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.knapsack import allocate_widths
from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate
from mpq_onnx.allocators.width_training import train_widths


def propose(problem: Problem) -> list[Candidate]:
    """Widths learned from a uniform start at the budget."""
    budget = problem.budget
    learned = train_widths(
        problem,
        _at_budget(problem.weights, budget.weight_bits),
        _at_budget(problem.activations, budget.activation_bits),
    )
    weight_bits = project(problem.weights, learned.weight_bits, budget.weight_bits)
    activation_bits = project(problem.activations, learned.activation_bits, budget.activation_bits)
    return [make_candidate(problem, "gradient", weight_bits, activation_bits)]


def project(items: WidthItems, learned: np.ndarray, budget: float | None) -> np.ndarray:
    """Allowed widths nearest to real-valued ones that keep the budget (float64 [items]; empty without a budget).

    Where the training has settled, one more bit gains the same everywhere; with quantization error falling by 4 a bit, the
    cost of width c for an item that learned b is then proportional to size * 4^(b - c), and the knapsack does the rest.
    """
    if budget is None:
        return np.zeros(0)
    costs = items.sizes[:, None] * 4.0 ** (learned[:, None] - items.choices[None, :])
    return allocate_widths(items, costs, budget)


def _at_budget(items: WidthItems, budget: float | None) -> np.ndarray:
    return np.full(len(items.sizes), 0.0 if budget is None else budget)
