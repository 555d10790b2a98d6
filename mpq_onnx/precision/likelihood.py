"""The scalar whose gradients' second moments are the Fisher information: the log-likelihood of sampled answers.

Predictions are softened (temperature 4): a network that has fit its training data is certain of every answer, and gradients
of certain answers vanish.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.precision.task_loss import class_logits, relative, sum_by_example
from mpq_onnx.precision.training_data import TrainingBatch

TEMPERATURE = 4.0


def sampled_likelihood(
    outputs: tuple[Tensor, ...], batch: TrainingBatch, generator: torch.Generator
) -> Tensor:
    """Sum over the examples of -log p(label), labels drawn from the prediction; a random projection for other models.

    Gradients of different examples are independent and of mean zero, so that squares of their sum are, on average, the sum
    of their squares. In the projection every part of the outputs (see output_parts) counts relative to its own power, as in
    task_loss.distance_from_float.
    """
    logits = class_logits(outputs, batch.answer)
    if logits is not None:
        softened = logits / TEMPERATURE
        probabilities = F.softmax(softened.detach().cpu(), dim=1)
        labels = torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(softened.device)
        return F.cross_entropy(softened, labels, reduction="sum") * TEMPERATURE
    total = torch.zeros((), device=outputs[0].device)
    for part in batch.parts:
        if outputs[part.output].is_floating_point():
            found = part.of(outputs[part.output])
            direction = torch.randn(found.shape, generator=generator).to(found)
            share = relative(sum_by_example(found.detach().square()).mean())
            total = total + (found * direction).sum() * share.sqrt()
    return total
