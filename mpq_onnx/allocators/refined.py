"""Method "refined", the default: water-filling, corrected by the gradient method.

Training starts from the closed form's widths. Where it moves an item from b0 to b, the item matters more (or less) than its
measured costs say, by the factor 4^(b - b0) that so many bits take off a quantization error. The costs are corrected by it
and the budget is filled anew. Training is noisy, so several shares of the correction are tried, none at all among them, and
the one whose network comes closest to the float one on training data is taken.
"""

import numpy as np

from mpq_onnx.allocators import uniform, water_filling
from mpq_onnx.allocators.measured_distance import measure_distance
from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate
from mpq_onnx.allocators.sensitivity import Costs, measure_costs
from mpq_onnx.allocators.width_training import LearnedBits, train_widths
from mpq_onnx.progress import begin

NAME = "refined"
SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Of the correction."""


def propose(problem: Problem) -> list[Candidate]:
    """The closed form, and what training makes of it."""
    if _allows_everything(problem):
        return uniform.propose(problem)  # there is nothing to choose
    costs = measure_costs(problem)
    start = water_filling.fill(problem, costs)
    learned = train_widths(problem, *start)
    begin("compare what training found with the costs")
    shares = [water_filling.fill(problem, _corrected(costs, *start, learned, share)) for share in SHARES]
    different = {tuple(np.concatenate(bits)): bits for bits in shares}
    best = min(
        different.values(),
        key=lambda bits: measure_distance(problem, bits[0], bits[1], learned.range_factors),
    )
    return [
        make_candidate(problem, water_filling.NAME, *start),
        make_candidate(problem, NAME, *best, learned.range_factors),
    ]


def _allows_everything(problem: Problem) -> bool:
    """True where the budgets give every item its largest width."""
    budget = problem.budget
    sides = (budget.weight_bits, problem.weights), (budget.activation_bits, problem.activations)
    return all(mean is None or mean >= items.choices[-1] for mean, items in sides)


def _corrected(
    costs: Costs, weight_bits: np.ndarray, activation_bits: np.ndarray, learned: LearnedBits, share: float
) -> Costs:
    return Costs(
        costs.weights * 4.0 ** (share * (learned.weight_bits - weight_bits))[:, None],
        costs.activations * 4.0 ** (share * (learned.activation_bits - activation_bits))[:, None],
    )
