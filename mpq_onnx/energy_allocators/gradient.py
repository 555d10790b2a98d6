"""Method "gradient": learned from a uniform start, as in arXiv 2102.06365, then brought to the budget."""

import numpy as np

from mpq_onnx.energy_allocators.energy_training import train_energies
from mpq_onnx.energy_allocators.problem import EnergyCandidate, EnergyProblem, make_candidate


def propose(problem: EnergyProblem) -> list[EnergyCandidate]:
    """Learned energies."""
    learned = train_energies(problem, np.full(len(problem.items.sizes), problem.energy_per_mac))
    return [make_candidate(problem, "gradient", problem.fit(learned))]
