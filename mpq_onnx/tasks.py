"""Tasks: what a model's outputs mean, which decides its metrics and what its training compares. Kept in the file's metadata.

A new task is one line in TASKS; a new way to answer is a file in runtime/scores/ and a case in allocators/task_loss.py.
"""

from collections.abc import Sequence
from enum import Enum

import numpy as np


class Answer(Enum):
    """The form of a model's answers."""

    CLASSES = "classes"
    """One output of logits [examples, classes], one class of which is right."""
    BINARY = "binary"
    """One output, the logit of class 1, [examples] or [examples, 1]."""
    VECTORS = "vectors"
    """One output [examples, length] whose directions are compared."""
    VALUES = "values"
    """Anything else: numbers that should stay what they were."""


IMAGES = "image-classification"

TASKS: dict[str, Answer] = {
    IMAGES: Answer.CLASSES,
    "sequence-classification": Answer.CLASSES,
    "binary-classification": Answer.BINARY,
    "sentence-embedding": Answer.VECTORS,
    "feature-extraction": Answer.VALUES,
    "token-classification": Answer.VALUES,
    "question-answering": Answer.VALUES,
    "fill-mask": Answer.VALUES,
}


def check_classes(labels: np.ndarray, classes: int) -> None:
    """Raise ValueError unless `labels` is a vector of whole numbers 0 .. classes-1."""
    if labels.ndim != 1 or labels.dtype.kind != "i" or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()} do not fit the model's {classes} classes"
        )


def answer_of(task: str, shapes: Sequence[Sequence[int]]) -> Answer:
    """The answers of a model: by its task, or by the shapes of its outputs where the task is unknown.

    Args:
        task: a name in TASKS; others, and outputs that do not fit the task, are told by their shape.
    """
    known = TASKS.get(task)
    single = len(shapes) == 1
    if known is Answer.BINARY and single and (len(shapes[0]) == 1 or tuple(shapes[0][1:]) == (1,)):
        return Answer.BINARY
    matrix = single and len(shapes[0]) == 2 and shapes[0][1] > 1
    if known is Answer.VECTORS and matrix:
        return Answer.VECTORS
    if known in (Answer.CLASSES, None) and matrix:
        return Answer.CLASSES
    return Answer.VALUES
