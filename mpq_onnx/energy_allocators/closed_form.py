"""Method "closed-form": no training. Minimising sum(s / E) under sum(M E) gives E proportional to sqrt(s / M).

s is an item's cost at unit energy (see sensitivity), M its MACs.
"""

import numpy as np

from mpq_onnx.energy_allocators.problem import EnergyCandidate, EnergyProblem, make_candidate

NAME = "closed-form"


def propose(problem: EnergyProblem) -> list[EnergyCandidate]:
    """Energies with the least expected loss."""
    return [make_candidate(problem, NAME, solve(problem))]


def solve(problem: EnergyProblem) -> np.ndarray:
    """The closed form's energies, float64 [items]."""
    return problem.fit(np.sqrt(problem.costs(problem) / problem.items.sizes))
