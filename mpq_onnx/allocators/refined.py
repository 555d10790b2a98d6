"""Method "refined", the default: water-filling, then the gradient method from there; the best of them and uniform is kept."""

import numpy as np

from mpq_onnx.allocators import gradient, uniform, water_filling
from mpq_onnx.allocators.items import Items, Widths
from mpq_onnx.allocators.problem import Candidate, Problem


def propose(problem: Problem) -> list[Candidate]:
    """Uniform, the closed form, and what training makes of the closed form."""
    (filled,) = water_filling.propose(problem)
    start = _flat(problem.weights, filled.weights), _flat(problem.activations, filled.activations)
    return [*uniform.propose(problem), filled, gradient.learn(problem, *start, name="refined")]


def _flat(items: Items, widths: Widths) -> np.ndarray:
    if not items.tensors:
        return np.zeros(0)
    return items.join({tensor: np.atleast_1d(np.array(bits, np.float64)) for tensor, bits in widths.items()})
