"""Method "refined", the default: the closed form, corrected by training.

Training starts from the closed form. What it moves away from there mattered more or less than its measured costs say; the costs
are corrected by that and the budgets are filled anew. Training is noisy, so several shares of the correction are tried, none at
all among them, and the one whose network comes closest to the original one on training data is taken.
"""

from dataclasses import replace

import numpy as np

from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.methods import uniform
from mpq_onnx.precision.problem import Candidate, Precision, Problem
from mpq_onnx.precision.training import Learned, measured_distance, train_levels
from mpq_onnx.precision.training_loop import DivergedError
from mpq_onnx.progress import begin

NAME = "refined"


def propose(problem: Problem) -> list[Candidate]:
    """The closed form, and what training makes of it."""
    if problem.allows_everything:
        return uniform.propose(problem)  # there is nothing to choose
    costs = measured_costs(problem)
    start = problem.solve(costs)
    closed_form = problem.candidate(problem.closed_form, start)
    if not problem.training.corrects_costs:
        return [closed_form]
    try:
        learned = train_levels(problem, start)
    except DivergedError as error:
        return [replace(closed_form, note=f"the closed form stands without training's corrections: {error}")]
    begin("compare what training found with the costs")

    def corrected(share: float) -> Precision:
        return problem.solve(
            {
                kind: side.corrected(costs[kind], start[kind], learned.precision[kind], share)
                for kind, side in problem.sides.items()
            }
        )

    shares = map(corrected, problem.correction_shares)
    different = {tuple(np.concatenate([*precision.values()])): precision for precision in shares}
    best = min(
        different.values(),
        key=lambda precision: measured_distance(problem, Learned(precision, learned.range_factors)),
    )
    refined = problem.candidate(NAME, best, learned.range_factors)
    if refined.same_levels(closed_form):
        return [closed_form]
    return [closed_form, refined] if problem.training.measures_closed_form else [refined]
