"""Learning levels by gradient descent, with the budget in the loss (arXiv 2102.06365 and 2102.06366).

Loss: task + lambda * how far the budgets are exceeded, Adam on the logarithms of the levels. The weights are never touched.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mpq_onnx.precision.fisher import SEED_STRIDE
from mpq_onnx.precision.problem import Learner, Precision, Problem
from mpq_onnx.precision.task_loss import mean_distance
from mpq_onnx.precision.training_data import TrainingBatch
from mpq_onnx.precision.training_loop import Learning, TrainingRun, train
from mpq_onnx.registries import TARGETS

PART_STRIDE = 2**24
"""Between what two parts of a step's batch draw."""
KEPT_A_VALUE = 3
"""Itself, what a quantizer or noise makes of it, and what that needs to go back."""
MEASURING_SEED = 1
"""Of the noise; equal for all that is compared."""


@dataclass(frozen=True)
class Learned:
    """What training ended with; not yet brought to the budgets."""

    precision: Precision
    range_factors: dict[str, float]
    """By tensor; empty where no ranges were learned."""


def train_levels(problem: Problem, start: Precision) -> Learned:
    """Run the training from the given start."""
    learner = problem.learner(start)
    run = TrainingRun(
        f"learn {problem.what}",
        problem.training,
        problem.data,
        problem.log,
        problem.examples_at_once(problem.training.batch_size, KEPT_A_VALUE),
        problem.checkpoint,
    )
    train(learning(problem, learner), run)
    return problem.data.ranks.first(lambda: Learned(learner.levels(), learner.range_factors()))


def learning(problem: Problem, learner: Learner) -> Learning:
    """The loss of a step, which draws what the step's number and the part's alone decide: a resumed training is an
    uninterrupted one, and a part is the same on whichever rank."""
    target, training = TARGETS[problem.training.labels], problem.training

    def begin(step: int, part: int) -> None:
        learner.generator.manual_seed(training.seed * SEED_STRIDE + part * PART_STRIDE + step)

    def loss(batch: TrainingBatch) -> Tensor:
        outputs = batch.by_example(learner.mirror.module.forward(*batch.inputs))
        return target(outputs, batch) + training.penalty * learner.excess()

    return Learning(learner.parameters, begin, loss, learner.clamp_, learner.describe)


def measured_distance(problem: Problem, learned: Learned) -> float:
    """Mean distance (see task_loss) over a sample of the training examples, at allowed levels."""
    learner = problem.learner(learned.precision)
    learner.set_range_factors(learned.range_factors)
    draws = measuring_draws(learner.generator)
    examples = problem.training.measured_examples
    return mean_distance(learner.mirror.module.forward, problem.data, examples, draws)


def measuring_draws(generator: torch.Generator) -> Callable[[int], object]:
    """Before every batch of a measurement: its place alone decides what is drawn."""
    return lambda place: generator.manual_seed(MEASURING_SEED * SEED_STRIDE + place)
