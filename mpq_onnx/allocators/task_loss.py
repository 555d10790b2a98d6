"""The task's loss: what a lower precision must not spoil."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.allocators.training_data import TrainingBatch


def is_classifier(outputs: tuple[Tensor, ...]) -> bool:
    """One output of logits, [examples, classes]."""
    return len(outputs) == 1 and outputs[0].dim() == 2 and outputs[0].shape[1] > 1


def task_loss(outputs: tuple[Tensor, ...], batch: TrainingBatch) -> Tensor:
    """Mean over the batch: cross entropy with the labels where there are any, else the distance from the float model."""
    if batch.labels is not None and is_classifier(outputs):
        return F.cross_entropy(outputs[0], batch.labels)
    return distance_from_float(outputs, batch.float_outputs).mean()


def distance_from_float(outputs: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> Tensor:
    """For each example, how far the outputs are from the float model's.

    Kullback-Leibler divergence (nats) for a classifier, else the squared error relative to the float outputs' power.
    """
    if is_classifier(outputs):
        expected, found = F.log_softmax(exact[0], dim=1), F.log_softmax(outputs[0], dim=1)
        return F.kl_div(found, expected, log_target=True, reduction="none").sum(dim=1)
    distances = [
        (found - wanted).square().flatten(1).sum(1)
        / wanted.square().flatten(1).sum(1).mean().clamp(min=1e-12)
        for found, wanted in zip(outputs, exact, strict=True)
        if found.is_floating_point()
    ]
    return torch.stack(distances).sum(dim=0)
