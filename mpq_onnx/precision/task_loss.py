"""What a lower precision must not spoil: the outputs as logits, and their distance from the float model's."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.datasets import Batch
from mpq_onnx.precision.training_data import TrainingBatch, TrainingData
from mpq_onnx.tasks import Answer

SMALLEST_POWER = 1e-12
"""Of a part, in the units of its numbers squared."""


def class_logits(outputs: tuple[Tensor, ...], answer: Answer) -> Tensor | None:
    """Logits [examples, classes] of a model that chooses among classes (two, for one logit), else None."""
    if answer is Answer.CLASSES:
        return outputs[0]
    if answer is Answer.BINARY:
        logit = outputs[0].flatten()
        return torch.stack([torch.zeros_like(logit), logit], dim=1)
    return None


@torch.no_grad()
def mean_distance(network: Callable[..., tuple[Tensor, ...]], batches: Iterable[TrainingBatch]) -> float:
    """Mean over all examples of the distance from the float model.

    Args:
        network: the model's inputs -> its outputs.
    """
    total, count = 0.0, 0
    for batch in batches:
        distances = distance_from_float(batch.by_example(network(*batch.inputs)), batch)
        total += float(distances.double().sum())
        count += len(distances)
    return total / count


class Distances:
    """The same of outputs that another runtime computed, batch by batch of a data set in order."""

    def __init__(self, data: TrainingData) -> None:
        self.data, self.total, self.count = data, 0.0, 0

    @torch.no_grad()
    def update(self, batch: Batch, outputs: Sequence[np.ndarray]) -> None:
        """Args: outputs: of the next examples, [examples, ...] each."""
        exact = self.data.training_batch(range(self.count, self.count + batch.examples), batch)
        found = tuple(torch.from_numpy(output).to(self.data.device) for output in outputs)
        self.total += float(distance_from_float(found, exact).double().sum())
        self.count += batch.examples

    @property
    def mean(self) -> float:
        """Over all examples so far."""
        return self.total / self.count


def distance_from_float(outputs: tuple[Tensor, ...], batch: TrainingBatch) -> Tensor:
    """For each example, how far the outputs are from the float model's.

    Kullback-Leibler divergence (nats) for a choice among classes, else the sum over the parts of the outputs (see output_parts)
    of the squared error relative to the part's own power in the float model, mean over the batch. Parts that are whole numbers,
    or always 0, are left out.
    """
    logits, exact = class_logits(outputs, batch.answer), class_logits(batch.float_outputs, batch.answer)
    if logits is not None and exact is not None:
        expected, found = F.log_softmax(exact, dim=1), F.log_softmax(logits, dim=1)
        return F.kl_div(found, expected, log_target=True, reduction="none").sum(dim=1)
    distances = []
    for part in batch.parts:
        if outputs[part.output].is_floating_point():
            found, wanted = part.of(outputs[part.output]), part.of(batch.float_outputs[part.output])
            share = relative(sum_by_example(wanted.square()).mean())
            distances.append(sum_by_example((found - wanted).square()) * share)
    return torch.stack(distances).sum(dim=0)


def sum_by_example(values: Tensor) -> Tensor:
    """Sums over all but the first axis of [examples, ...]."""
    return values.reshape(len(values), -1).sum(1)


def relative(power: Tensor) -> Tensor:
    """1 / power, or 0 for a part that is always 0: nothing there is relative to anything."""
    return torch.where(power > SMALLEST_POWER, 1 / power.clamp(min=SMALLEST_POWER), 0.0)
