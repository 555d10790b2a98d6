"""Method "refined", the default: water-filling, corrected by the gradient method; the best of them and uniform is kept.

Training starts from the closed form's widths. Where it moves an item from b0 to b, the item matters more (or less) than its
measured costs say, by the factor 4^(b - b0) that so many bits take off a quantization error. The costs are corrected by it
and the budget is filled anew, so that training decides between items that are close, and its noise alone changes little.
"""

from mpq_onnx.allocators import uniform, water_filling
from mpq_onnx.allocators.problem import Candidate, Problem, make_candidate
from mpq_onnx.allocators.sensitivity import Costs, measure_costs
from mpq_onnx.allocators.trainer import train_widths

NAME = "refined"


def propose(problem: Problem) -> list[Candidate]:
    """Uniform, the closed form, and what training makes of the closed form."""
    costs = measure_costs(problem)
    weight_bits, activation_bits = water_filling.fill(problem, costs)
    learned = train_widths(problem, weight_bits, activation_bits)
    corrected = Costs(
        costs.weights * 4.0 ** (learned.weight_bits - weight_bits)[:, None],
        costs.activations * 4.0 ** (learned.activation_bits - activation_bits)[:, None],
    )
    return [
        *uniform.propose(problem),
        make_candidate(problem, water_filling.NAME, weight_bits, activation_bits),
        make_candidate(problem, NAME, *water_filling.fill(problem, corrected)),
    ]
