"""How far the noisy network is from the noise-free one at given energies, in the mirror."""

from collections.abc import Iterable

import numpy as np

from mpq_onnx.allocators.task_loss import mean_distance
from mpq_onnx.allocators.training_data import TrainingBatch
from mpq_onnx.energy_allocators.problem import EnergyProblem
from mpq_onnx.mirror.noisy_mac import NoisyMirror

EXAMPLES = 512
BATCH_SIZE = 64
NOISE_SEED = 1


def measure_distance(problem: EnergyProblem, energies: np.ndarray) -> float:
    """Mean distance over a sample of the training examples, at `energies` float64 [items]."""
    return noisy_distance(problem.noisy(energies), problem.data.batches(BATCH_SIZE, EXAMPLES))


def noisy_distance(noisy: NoisyMirror, batches: Iterable[TrainingBatch]) -> float:
    """Mean distance (see task_loss) from the noise-free outputs; equal noise for equal arguments."""
    noisy.generator.manual_seed(NOISE_SEED)
    return mean_distance(noisy.mirror.module.forward, batches)
