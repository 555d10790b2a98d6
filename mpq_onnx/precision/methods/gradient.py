"""Method "gradient": learned from a uniform start (arXiv 2102.06365 and 2102.06366), then brought to the budgets.

Forward, every tensor is quantized at an allowed width near to the learned one, or every product gets its noise; backward,
rounding is passed straight through, for values and for widths.
"""

from mpq_onnx.precision.problem import Candidate, Problem
from mpq_onnx.precision.training import train_levels

NAME = "gradient"


def propose(problem: Problem) -> list[Candidate]:
    """Learned levels."""
    learned = train_levels(problem, problem.uniform())
    return [problem.candidate(NAME, problem.project(learned.precision), learned.range_factors)]
