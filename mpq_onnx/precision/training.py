"""Learning levels by gradient descent, with the budget in the loss (arXiv 2102.06365 and 2102.06366).

Loss: task + lambda * how far the budgets are exceeded, Adam on the logarithms of the levels. The weights are never touched.
"""

from dataclasses import dataclass

from torch import Tensor

from mpq_onnx.precision.problem import Learner, Precision, Problem
from mpq_onnx.precision.task_loss import mean_distance
from mpq_onnx.precision.training_data import TrainingBatch
from mpq_onnx.precision.training_loop import Learning, TrainingRun, train
from mpq_onnx.registries import TARGETS

SEED_STRIDE = 2**32
"""Between what two seeds of the user's draw: more steps than anyone trains."""
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
    return Learned(learner.levels(), learner.range_factors())


def learning(problem: Problem, learner: Learner) -> Learning:
    """The loss of a step, which draws what the step's number alone decides: a resumed training is an uninterrupted one."""
    target, training = TARGETS[problem.training.labels], problem.training

    def begin(step: int) -> None:
        learner.generator.manual_seed(training.seed * SEED_STRIDE + step)

    def loss(batch: TrainingBatch) -> Tensor:
        outputs = batch.by_example(learner.mirror.module.forward(*batch.inputs))
        return target(outputs, batch) + training.penalty * learner.excess()

    return Learning(learner.parameters, begin, loss, learner.clamp_, learner.describe)


def measured_distance(problem: Problem, learned: Learned) -> float:
    """Mean distance (see task_loss) over a sample of the training examples, at allowed levels."""
    learner = problem.learner(learned.precision)
    learner.set_range_factors(learned.range_factors)
    learner.generator.manual_seed(MEASURING_SEED)
    batches = problem.data.batches(problem.data.forward_batch, problem.training.measured_examples)
    return mean_distance(learner.mirror.module.forward, batches)
