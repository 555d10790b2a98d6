"""The scalar whose gradients' second moments are the Fisher information: the log-likelihood of sampled answers.

Predictions are softened (temperature 4): a network that has fit its training data is certain of every answer, and gradients
of certain answers vanish.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.allocators.task_loss import class_logits
from mpq_onnx.tasks import Answer

TEMPERATURE = 4.0


def sampled_likelihood(outputs: tuple[Tensor, ...], answer: Answer, generator: torch.Generator) -> Tensor:
    """Sum over the examples of -log p(label), labels drawn from the prediction; a random projection for other models.

    Gradients of different examples are independent and of mean zero, so that squares of their sum are, on average, the sum
    of their squares.
    """
    logits = class_logits(outputs, answer)
    if logits is not None:
        softened = logits / TEMPERATURE
        probabilities = F.softmax(softened.detach().cpu(), dim=1)
        labels = torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(softened.device)
        return F.cross_entropy(softened, labels, reduction="sum") * TEMPERATURE
    total = torch.zeros((), device=outputs[0].device)
    for output in outputs:
        if output.is_floating_point():
            direction = torch.randn(output.shape, generator=generator).to(output)
            power = output.detach().square().mean().clamp(min=1e-12) * output[0].numel()
            total = total + (output * direction).sum() / power.sqrt()
    return total
