"""What is known before the long work starts: how much of it there is, what it takes at least, and whether it makes sense."""

import numpy as np

from mpq_onnx.precision.methods import refined
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.progress import duration, note
from mpq_onnx.runs.chance_notes import chance_note
from mpq_onnx.runtime.scores.classes import ClassScores
from mpq_onnx.runtime.statistics import Estimate
from mpq_onnx.tasks import Answer

FORWARD_AND_BACKWARD = 3
"""Passes: gradients of inputs and of weights take as many multiply-accumulates as the outputs, each."""
COSTS, TRAINING = "costs", "training"
WORK = {
    "uniform": (),
    "closed-form": (COSTS,),
    "water-filling": (COSTS,),
    "gradient": (TRAINING,),
    "refined": (COSTS, TRAINING),
}
"""What methods do with examples; nothing is said of others."""
WORTH_SAYING = 10.0
"""Seconds."""


def say_what_is_to_come(
    method: str, data: TrainingData, cost_examples: int, training: TrainingSettings
) -> None:
    """A line where costs and training take long: counted in examples, by the time that one took on this machine.

    It is a bound from below: quantizers, noise, rounding and measuring come on top.
    """
    work = WORK.get(method, ())
    if method == refined.NAME and not training.corrects_costs:
        work = (COSTS,)
        note(
            f"method refined: for a network of this size this effort has {training.steps} training steps, too few to correct"
            " anything: the closed form is taken; --steps or --effort thorough trains"
        )
    examples = {
        COSTS: min(cost_examples, len(data)),
        TRAINING: training.steps * min(training.batch_size, len(data)),
    }
    total = sum(examples[each] for each in work)
    seconds = total * FORWARD_AND_BACKWARD * data.example_seconds
    if seconds >= WORTH_SAYING:
        said = " and ".join(f"{each} on {examples[each]}" for each in work)
        note(
            f"method {method}: {said} examples, forwards and backwards, take at least {duration(seconds)}"
            f" ({1e3 * data.example_seconds:.3g} ms an example through the float network here); --effort quick takes less"
        )


def say_if_by_chance(data: TrainingData) -> None:
    """A line where the float network does no better than guessing on the first examples."""
    if data.answer is not Answer.CLASSES or not data.dataset.has_labels:
        return
    batch = data.batch(data.seen)
    assert batch.labels is not None
    labels, output = (each.cpu().numpy() for each in (batch.labels, batch.float_outputs[0]))
    right = ClassScores.predictions(output) == labels
    found = Estimate.share(int(np.count_nonzero(right)), len(labels))
    for line in chance_note("the float file", "top1", found, output.shape[1]):
        note(line)
