"""What the training holds the network's outputs to; a target is one function and one line in registries.TARGETS.

real: cross entropy with the data's labels. generated: cross entropy with the float model's own answers, as for data without
labels (arXiv 2102.06366). distilled: the distance from the float model's outputs. auto: real where there are labels, else
distilled.
"""

import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.errors import DataError
from mpq_onnx.precision.task_loss import class_logits, distance_from_float
from mpq_onnx.precision.training_data import TrainingBatch


def real(outputs: tuple[Tensor, ...], batch: TrainingBatch) -> Tensor:
    """Cross entropy with the labels.

    Raises:
        DataError: there are none, or the model does not choose among classes.
    """
    logits = class_logits(outputs, batch.answer)
    if batch.labels is None or logits is None:
        raise DataError(
            "--labels real: the data has no labels that this model's outputs are held to; use distilled"
        )
    return F.cross_entropy(logits, batch.labels)


def generated(outputs: tuple[Tensor, ...], batch: TrainingBatch) -> Tensor:
    """Cross entropy with the class that the float model puts first; the distance where there are no classes."""
    logits, exact = class_logits(outputs, batch.answer), class_logits(batch.float_outputs, batch.answer)
    if logits is None or exact is None:
        return distilled(outputs, batch)
    return F.cross_entropy(logits, exact.argmax(dim=1))


def distilled(outputs: tuple[Tensor, ...], batch: TrainingBatch) -> Tensor:
    """The distance from the float model's outputs."""
    return distance_from_float(outputs, batch).mean()


def auto(outputs: tuple[Tensor, ...], batch: TrainingBatch) -> Tensor:
    """The labels where there are any, else the float model's outputs."""
    has_labels = batch.labels is not None and class_logits(outputs, batch.answer) is not None
    return (real if has_labels else distilled)(outputs, batch)
