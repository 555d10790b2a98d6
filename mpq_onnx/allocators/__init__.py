"""How the widths are chosen; a method is one file and one line in ALLOCATORS. No onnxruntime here."""

from collections.abc import Callable

from mpq_onnx.allocators import gradient, refined, uniform, water_filling
from mpq_onnx.allocators.problem import Budget, Candidate, Problem
from mpq_onnx.allocators.training_data import TrainingData
from mpq_onnx.allocators.training_settings import TrainingSettings

Allocator = Callable[[Problem], list[Candidate]]
"""Every candidate keeps the budget; the caller measures them and uniform, and keeps the best."""

ALLOCATORS: dict[str, Allocator] = {
    "uniform": uniform.propose,
    "water-filling": water_filling.propose,
    "gradient": gradient.propose,
    "refined": refined.propose,
}

__all__ = ["ALLOCATORS", "Allocator", "Budget", "Candidate", "Problem", "TrainingData", "TrainingSettings"]
