"""What a lower precision must not spoil: the outputs as logits, and their distance from the float model's."""

from collections.abc import Callable, Sequence

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
        return next(output for output in outputs if output.is_floating_point())
    if answer is Answer.BINARY:
        logit = outputs[0].flatten()
        return torch.stack([torch.zeros_like(logit), logit], dim=1)
    return None


@torch.no_grad()
def mean_distance(
    network: Callable[..., tuple[Tensor, ...]],
    data: TrainingData,
    examples: int | None = None,
    begin: Callable[[int], object] = lambda place: None,
) -> float:
    """Mean over all examples, or the first `examples`, of the distance from the float model.

    Args:
        network: the model's inputs -> its outputs.
        begin: called with the place of every batch before it is run.
    """
    distances = Distances(data)
    for batch in data.batches(data.forward_batch, examples):
        begin(batch.place)
        distances.add(batch.by_example(network(*batch.inputs)), batch)
    return distances.mean


class Distances:
    """Of outputs that any runtime computed, for the batches of this rank in order."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.sums: list[tuple[float, int]] = []
        """Of every batch, and over how many examples."""

    @torch.no_grad()
    def update(self, positions: Sequence[int], batch: Batch, outputs: Sequence[np.ndarray]) -> None:
        """Args: outputs: of the examples at `positions`, [examples, ...] each."""
        found = tuple(torch.from_numpy(output).to(self.data.device) for output in outputs)
        self.add(found, self.data.training_batch(positions, batch))

    def add(self, outputs: tuple[Tensor, ...], batch: TrainingBatch) -> None:
        """Take in those of one batch."""
        distances = distance_from_float(outputs, batch)
        self.sums.append((float(distances.double().sum()), len(distances)))

    @property
    def mean(self) -> float:
        """Over all examples of all ranks."""
        totals, counts = zip(*self.data.ranks.in_order(self.sums), strict=True)
        return sum(totals) / sum(counts)


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
