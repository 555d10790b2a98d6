"""Method "uniform": the same energy for every MAC (for whole repeats, as far as the budget divides evenly)."""

import numpy as np

from mpq_onnx.energy_allocators.problem import EnergyCandidate, EnergyProblem, make_candidate


def propose(problem: EnergyProblem) -> list[EnergyCandidate]:
    """The baseline that every other method is compared with."""
    energy = problem.energy_per_mac
    if problem.levels.smallest:
        energy = np.floor(energy)
    return [make_candidate(problem, "uniform", np.full(len(problem.items.sizes), float(energy)))]
