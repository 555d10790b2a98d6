"""Method "water-filling": the closed form. Least summed cost under the budget, no training (see sensitivity, knapsack)."""

import numpy as np

from mpq_onnx.allocators.items import Items, Widths, widths_by_tensor
from mpq_onnx.allocators.knapsack import allocate_widths
from mpq_onnx.allocators.problem import Candidate, Problem
from mpq_onnx.allocators.sensitivity import measure_costs


def propose(problem: Problem) -> list[Candidate]:
    """Widths with the least expected loss."""
    costs = measure_costs(problem)
    return [
        Candidate(
            "water-filling",
            _fill(problem.weights, costs.weights, problem.budget.weight_bits),
            _fill(problem.activations, costs.activations, problem.budget.activation_bits),
        )
    ]


def _fill(items: Items, costs: np.ndarray, budget: float | None) -> Widths:
    return {} if budget is None else widths_by_tensor(items, allocate_widths(items, costs, budget))
