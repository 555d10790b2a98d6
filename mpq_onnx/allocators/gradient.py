"""Method "gradient": learn log2 of every width by gradient descent (arXiv 2102.06365 and 2102.06366).

Forward, every tensor is quantized at an allowed width near to the learned one; backward, rounding is passed straight
through, for values and for widths. Loss: task + lambda * (max(0, mean weight bits - budget) + max(0, mean activation bits -
budget)), Adam. The weights themselves are never touched.
"""

from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate
from mpq_onnx.allocators.uniform import uniform_bits
from mpq_onnx.allocators.width_training import train_widths


def propose(problem: Problem) -> list[Candidate]:
    """Widths learned from a uniform start at the budget."""
    learned = train_widths(
        problem,
        uniform_bits(problem.weights, problem.budget.weight_bits),
        uniform_bits(problem.activations, problem.budget.activation_bits),
    )
    weight_bits = problem.weight_side.project(learned.weight_bits)
    activation_bits = problem.activation_side.project(learned.activation_bits)
    return [make_candidate(problem, "gradient", weight_bits, activation_bits, learned.range_factors)]
