"""How far the quantized network is from the float one at given widths: a forward pass, weights rounded to nearest."""

import numpy as np
import torch

from mpq_onnx.allocators.problem import Problem
from mpq_onnx.allocators.task_loss import distance_from_float
from mpq_onnx.allocators.width_training import build_learner

EXAMPLES = 512
BATCH_SIZE = 64


@torch.no_grad()
def measure_distance(problem: Problem, weight_bits: np.ndarray, activation_bits: np.ndarray) -> float:
    """Mean distance over training examples spread over the data (see task_loss).

    Args:
        weight_bits: allowed widths, float64 [items]; empty where the weights stay float.
        activation_bits: the same for the activations.
    """
    network = build_learner(problem, weight_bits, activation_bits).mirror.module
    positions = np.linspace(0, len(problem.data) - 1, min(EXAMPLES, len(problem.data))).astype(int)
    total = 0.0
    for start in range(0, len(positions), BATCH_SIZE):
        batch = problem.data.batch(positions[start : start + BATCH_SIZE])
        outputs = network.forward(*batch.inputs)
        total += float(distance_from_float(outputs, batch).double().sum())
    return total / len(positions)
