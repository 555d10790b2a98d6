"""How levels are chosen; a method is one file and one line in METHODS, and knows nothing of bits or energies."""

from collections.abc import Callable

from mpq_onnx.precision.methods import closed_form, gradient, refined, uniform
from mpq_onnx.precision.problem import Candidate, Problem

Method = Callable[[Problem], list[Candidate]]
"""Every candidate keeps the budgets; the caller measures them and uniform, and keeps the best."""

METHODS: dict[str, Method] = {
    "uniform": uniform.propose,
    "water-filling": closed_form.propose,
    "closed-form": closed_form.propose,
    "gradient": gradient.propose,
    "refined": refined.propose,
}
"""Water-filling is what the closed form is called for bits; both names mean it, whatever is allocated."""
