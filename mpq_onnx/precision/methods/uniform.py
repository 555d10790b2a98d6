"""Method "uniform": the same level everywhere, the baseline that stands beside every result, at the same budget.

Where no whole width meets a budget of bits, it has the most levels L with log2(L) <= budget, 5 for 2.5 bits, whatever the
choices: fewer levels than a choice has are stored like it. The widest choice below it is measured as well, the whole width as a
rule.
"""

from mpq_onnx.precision.problem import Candidate, Problem

NAME = "uniform"
WHOLE_NAME = "uniform-whole"
"""The widest choice below, where uniform's width is none."""


def propose(problem: Problem) -> list[Candidate]:
    """Uniform, and the allowed levels below where its own are none of those."""
    uniform = problem.uniform()
    below = problem.uniform_of_choices(uniform)
    candidates = [problem.candidate(NAME, uniform)]
    if below is not None and any((below[kind] != uniform[kind]).any() for kind in uniform):
        candidates.append(problem.candidate(WHOLE_NAME, below))
    return candidates
