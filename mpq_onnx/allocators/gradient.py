"""Method "gradient": learn log2 of every width by gradient descent (arXiv 2102.06365 and 2102.06366).

Forward, every tensor is quantized at the nearest allowed width; backward, rounding is passed straight through, for values
and for widths. Loss: task + lambda * (max(0, mean weight bits - budget) + max(0, mean activation bits - budget)), Adam. The
weights themselves are never touched.
"""

import numpy as np

from mpq_onnx.allocators.items import Items, Widths, widths_by_tensor
from mpq_onnx.allocators.knapsack import allocate_widths
from mpq_onnx.allocators.problem import Candidate, Problem
from mpq_onnx.allocators.trainer import train_widths


def propose(problem: Problem) -> list[Candidate]:
    """Widths learned from a uniform start at the budget."""
    start = (
        _at_budget(problem.weights, problem.budget.weight_bits),
        _at_budget(problem.activations, problem.budget.activation_bits),
    )
    return [learn(problem, *start, name="gradient")]


def learn(problem: Problem, weight_bits: np.ndarray, activation_bits: np.ndarray, name: str) -> Candidate:
    """Widths learned from a given start (float64 [items] each)."""
    learned = train_widths(problem, weight_bits, activation_bits)
    return Candidate(
        name,
        project(problem.weights, learned.weight_bits, problem.budget.weight_bits),
        project(problem.activations, learned.activation_bits, problem.budget.activation_bits),
    )


def project(items: Items, learned: np.ndarray, budget: float | None) -> Widths:
    """Allowed widths nearest to real-valued ones that keep the budget.

    Where the training has settled, one more bit gains the same everywhere; with quantization error falling by 4 a bit, the
    cost of width c for an item that learned b is then proportional to size * 4^(b - c), and the knapsack does the rest.
    """
    if budget is None:
        return {}
    costs = items.sizes[:, None] * 4.0 ** (learned[:, None] - items.choices[None, :])
    return widths_by_tensor(items, allocate_widths(items, costs, budget))


def _at_budget(items: Items, budget: float | None) -> np.ndarray:
    return np.full(len(items.sizes), 0.0 if budget is None else budget)
