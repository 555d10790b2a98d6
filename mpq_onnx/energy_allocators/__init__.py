"""How energies per MAC are chosen; a method is one file and one line in ENERGY_ALLOCATORS. No onnxruntime here."""

from collections.abc import Callable

from mpq_onnx.energy_allocators import closed_form, gradient, refined, uniform
from mpq_onnx.energy_allocators.problem import EnergyCandidate, EnergyProblem

EnergyAllocator = Callable[[EnergyProblem], list[EnergyCandidate]]
"""Every candidate keeps the budget; the caller measures them and uniform, and keeps the best."""

ENERGY_ALLOCATORS: dict[str, EnergyAllocator] = {
    "uniform": uniform.propose,
    "closed-form": closed_form.propose,
    "gradient": gradient.propose,
    "refined": refined.propose,
}

__all__ = ["ENERGY_ALLOCATORS", "EnergyAllocator", "EnergyCandidate", "EnergyProblem"]
