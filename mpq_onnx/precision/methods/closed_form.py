"""Method "water-filling" (bits) or "closed-form" (energies): least summed cost under the budgets, no training (see fisher)."""

from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.problem import Candidate, Problem


def propose(problem: Problem) -> list[Candidate]:
    """Levels with the least expected loss."""
    return [problem.candidate(problem.closed_form, problem.solve(measured_costs(problem)))]
