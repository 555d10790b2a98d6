"""Method "uniform": the same width everywhere, the largest allowed one that keeps the budget."""

import numpy as np

from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate


def propose(problem: Problem) -> list[Candidate]:
    """The baseline that every other method is compared with."""
    weight_bits = _uniform(problem.weights, problem.budget.weight_bits)
    activation_bits = _uniform(problem.activations, problem.budget.activation_bits)
    return [make_candidate(problem, "uniform", weight_bits, activation_bits)]


def _uniform(items: WidthItems, budget: float | None) -> np.ndarray:
    if budget is None:
        return np.zeros(0)
    width = items.choices[items.choices <= budget].max(initial=items.choices[0])
    return np.full(len(items.sizes), width)
