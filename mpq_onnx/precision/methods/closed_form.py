"""Method "water-filling" (bits) or "closed-form" (energies): least summed cost under the budgets, no training (see fisher)."""

from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.problem import Candidate, Costs, Precision, Problem


def propose(problem: Problem) -> list[Candidate]:
    """Levels with the least expected loss."""
    return [problem.candidate(problem.closed_form, solve(problem, measured_costs(problem)))]


def solve(problem: Problem, costs: Costs) -> Precision:
    """Levels of least summed cost under the budgets."""
    return problem.each_side(lambda kind, side: side.solve(costs[kind]))
