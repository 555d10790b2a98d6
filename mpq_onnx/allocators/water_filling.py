"""Method "water-filling": the closed form. Least summed cost under the budget, no training (see sensitivity, knapsack)."""

import numpy as np

from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate
from mpq_onnx.allocators.sensitivity import Costs, measure_costs

NAME = "water-filling"


def propose(problem: Problem) -> list[Candidate]:
    """Widths with the least expected loss."""
    return [make_candidate(problem, NAME, *fill(problem, measure_costs(problem)))]


def fill(problem: Problem, costs: Costs) -> tuple[np.ndarray, np.ndarray]:
    """(weight, activation) widths, float64 [items], of least summed cost under the budgets."""
    return problem.weight_side.fill(costs.weights), problem.activation_side.fill(costs.activations)
