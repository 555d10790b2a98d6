"""How far the noisy network is from the noise-free one at given energies, in the mirror."""

import numpy as np
import torch

from mpq_onnx.allocators.task_loss import distance_from_float
from mpq_onnx.allocators.training_data import TrainingData
from mpq_onnx.energy_allocators.problem import EnergyProblem
from mpq_onnx.mirror.noisy_mac import NoisyMirror

EXAMPLES = 512
BATCH_SIZE = 64
NOISE_SEED = 1


def measure_distance(problem: EnergyProblem, energies: np.ndarray) -> float:
    """Mean distance over training examples spread over the data, at `energies` float64 [items]."""
    positions = np.linspace(0, len(problem.data) - 1, min(EXAMPLES, len(problem.data))).astype(int)
    return noisy_distance(problem.noisy(energies), problem.data, positions)


@torch.no_grad()
def noisy_distance(noisy: NoisyMirror, data: TrainingData, positions: np.ndarray) -> float:
    """Mean distance (see task_loss) from the noise-free outputs at `positions`; equal noise for equal arguments."""
    noisy.generator.manual_seed(NOISE_SEED)
    total = 0.0
    for start in range(0, len(positions), BATCH_SIZE):
        batch = data.batch(positions[start : start + BATCH_SIZE])
        outputs = noisy.mirror.module.forward(*batch.inputs)
        total += float(distance_from_float(outputs, batch).double().sum())
    return total / len(positions)
