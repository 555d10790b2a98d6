"""Method "uniform": the same width everywhere, the largest allowed one that keeps the budget."""

import numpy as np

from mpq_onnx.allocators.items import Items, Widths, widths_by_tensor
from mpq_onnx.allocators.problem import Candidate, Problem


def propose(problem: Problem) -> list[Candidate]:
    """The baseline that every other method is compared with."""
    return [
        Candidate(
            "uniform",
            _uniform(problem.weights, problem.budget.weight_bits),
            _uniform(problem.activations, problem.budget.activation_bits),
        )
    ]


def _uniform(items: Items, budget: float | None) -> Widths:
    if budget is None:
        return {}
    width = items.choices[items.choices <= budget].max(initial=items.choices[0])
    return widths_by_tensor(items, np.full(len(items.sizes), width))
