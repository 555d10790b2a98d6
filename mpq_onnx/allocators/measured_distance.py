"""How far the quantized network is from the float one at given widths: a forward pass, weights rounded to nearest."""

from collections.abc import Mapping

import numpy as np

from mpq_onnx.allocators.problem import Problem
from mpq_onnx.allocators.task_loss import mean_distance
from mpq_onnx.allocators.width_training import build_learner

EXAMPLES = 512
BATCH_SIZE = 64


def measure_distance(
    problem: Problem,
    weight_bits: np.ndarray,
    activation_bits: np.ndarray,
    range_factors: Mapping[str, float],
) -> float:
    """Mean distance over a sample of the training examples (see task_loss).

    Args:
        weight_bits: allowed widths, float64 [items]; empty where the weights stay float.
        activation_bits: the same for the activations.
        range_factors: learned factors on the ranges of some tensors.
    """
    learner = build_learner(problem, weight_bits, activation_bits)
    learner.set_range_factors(range_factors)
    network = learner.mirror.module
    return mean_distance(network.forward, problem.data.batches(BATCH_SIZE, EXAMPLES))
