"""Method "uniform": the same energy for every MAC, the baseline that stands beside every result.

With whole repeats it is the whole number below the budget: at 2.5 repeats all MACs can be repeated twice, and the rest of the
budget can only be spent on some of them, which is no longer uniform.
"""

import numpy as np

from mpq_onnx.energy_allocators.problem import EnergyCandidate, EnergyProblem, make_candidate

NAME = "uniform"


def propose(problem: EnergyProblem) -> list[EnergyCandidate]:
    """The baseline that every other method is compared with."""
    energy = problem.energy_per_mac
    if problem.levels.smallest:
        energy = np.floor(energy)
    return [make_candidate(problem, NAME, np.full(len(problem.items.sizes), float(energy)))]
