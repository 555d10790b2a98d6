"""Learning the energies: ln(E) of every item by gradient descent through the noise, the budget in the loss.

Loss: task + lambda * max(0, ln(mean E) - ln(budget)), Adam, weights never touched (arXiv 2102.06365). Every step draws its own
noise, seeded by the step.
"""

import math

import numpy as np
import torch
from torch import Tensor

from mpq_onnx.allocators.targets import TARGETS
from mpq_onnx.allocators.training_data import TrainingBatch
from mpq_onnx.allocators.training_loop import Learning, TrainingRun, train
from mpq_onnx.energy_allocators.problem import EnergyProblem
from mpq_onnx.mirror.noisy_mac import NoisyMirror

SEED_STRIDE = 2**32
"""Between the noise of two seeds of the user's: more steps than anyone trains."""


def train_energies(problem: EnergyProblem, start: np.ndarray) -> np.ndarray:
    """Energies learned from `start`, float64 [items] each; not yet brought to the budget."""
    noisy = problem.noisy(start)
    run = TrainingRun("learn energies", problem.training, problem.data, problem.log, problem.checkpoint)
    train(learning(problem, noisy), run)
    return problem.items.join(
        {
            name: module.energy_per_mac.detach().cpu().double().numpy()
            for name, module in noisy.modules.items()
        }
    )


def learning(problem: EnergyProblem, noisy: NoisyMirror) -> Learning:
    """Task loss + lambda * max(0, ln(mean energy) - ln(budget))."""
    sizes = torch.as_tensor(problem.items.sizes, dtype=torch.float32, device=problem.data.device)
    shares = sizes / sizes.sum()
    parameters = [noisy.modules[name].log_energy for name in problem.items.names]
    smallest = math.log(problem.levels.smallest) if problem.levels.smallest else -math.inf

    def mean_energy() -> Tensor:
        return (torch.cat([*parameters]).exp() * shares).sum()

    def loss(batch: TrainingBatch, step: int) -> Tensor:
        noisy.generator.manual_seed(problem.training.seed * SEED_STRIDE + step)
        outputs = batch.by_example(noisy.mirror.module.forward(*batch.inputs))
        excess = torch.relu(mean_energy().log() - math.log(problem.energy_per_mac))
        return TARGETS[problem.training.labels](outputs, batch) + problem.training.penalty * excess

    @torch.no_grad()
    def clamp() -> None:
        for parameter in parameters:
            parameter.clamp_(min=smallest)

    return Learning(parameters, loss, clamp, lambda: f"energy per MAC {float(mean_energy().detach()):.4g}")
