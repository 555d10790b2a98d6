"""Method "refined", the default: the closed form, corrected by training.

Training starts from the closed form. It is noisy, so several shares of its correction (in ln E) are tried, none at all and more
than all among them, and the one whose network comes closest to the noise-free one on training data is taken.
"""

from mpq_onnx.energy_allocators import closed_form
from mpq_onnx.energy_allocators.energy_training import train_energies
from mpq_onnx.energy_allocators.measured_distance import measure_distance
from mpq_onnx.energy_allocators.problem import EnergyCandidate, EnergyProblem, make_candidate

SHARES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Of the correction."""


def propose(problem: EnergyProblem) -> list[EnergyCandidate]:
    """The closed form, and what training makes of it."""
    start = closed_form.solve(problem)
    learned = train_energies(problem, start)
    refined = [problem.fit(start * (learned / start) ** share) for share in SHARES]
    best = min(refined, key=lambda energies: measure_distance(problem, energies))
    return [
        make_candidate(problem, closed_form.NAME, start),
        make_candidate(problem, "refined", best),
    ]
