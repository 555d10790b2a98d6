"""Tasks: what a model's outputs mean, which decides its metrics and what its training compares. Kept in the file's metadata.

A new task is one line in TASKS; a new way to answer is a file in runtime/scores/ and a case in precision/task_loss.py.
"""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np


class Answer(Enum):
    """The form of a model's answers."""

    CLASSES = "classes"
    """One output of logits [examples, classes], one class of which is right; beside it at most which that is."""
    BINARY = "binary"
    """One output, the logit of class 1, [examples] or [examples, 1]."""
    VECTORS = "vectors"
    """One output [examples, length] whose directions are compared."""
    LABELS = "labels"
    """Whole numbers or truth values, as ArgMax, TopK and comparisons give them: class maps, indices, masks."""
    VALUES = "values"
    """Anything else: numbers that should stay what they were."""


IMAGES = "image-classification"
VALUES_TASK = "feature-extraction"

TASKS: dict[str, Answer] = {
    IMAGES: Answer.CLASSES,
    "sequence-classification": Answer.CLASSES,
    "binary-classification": Answer.BINARY,
    "sentence-embedding": Answer.VECTORS,
    VALUES_TASK: Answer.VALUES,
    "token-classification": Answer.VALUES,
    "question-answering": Answer.VALUES,
    "fill-mask": Answer.VALUES,
}


def class_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """int64 [examples]: the class of every example, of labels that are that already or one-hot rows [examples, classes].

    Raises:
        ValueError: they are neither, or name other classes than 0 .. classes-1; the text says which labels are wanted.
    """
    if is_one_hot(labels, classes):
        return labels.argmax(axis=1)
    if labels.ndim != 1:
        shape = ", ".join(map(str, ("examples", *labels.shape[1:])))
        raise ValueError(
            f"labels of shape [{shape}] do not fit the model's {classes} classes: give one number an example, 0 to"
            f" {classes - 1}, or one row of {classes} with a single 1 and zeros"
        )
    if labels.dtype.kind != "i" or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()} do not fit the model's {classes} classes"
        )
    return labels


def is_one_hot(labels: np.ndarray, classes: int) -> bool:
    """Whether they are rows [examples, classes], each with a single 1 and zeros."""
    if labels.ndim != 2 or labels.shape[1] != classes:
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


@dataclass(frozen=True)
class OutputForm:
    """What a model's outputs look like: enough to tell what they mean where nobody says it."""

    shapes: tuple[tuple[int, ...], ...]
    floats: tuple[bool, ...]
    """False for outputs of whole numbers, truth values or text."""
    alike: bool = True
    """False where one output has parts of other scales, which logits of classes have not."""


def class_matrix(form: OutputForm) -> int | None:
    """The place of the one output [examples, several] of floats, which may be scores of classes or any numbers; None if none.

    Whole numbers beside it, one an example, are the classes that it chooses: classifiers of scikit-learn give both.
    """
    places = [place for place, is_float in enumerate(form.floats) if is_float]
    if len(places) != 1:
        return None
    (place,) = places
    examples, *rest = form.shapes[place] or (0,)
    others = form.shapes[:place] + form.shapes[place + 1 :]
    answers = all(math.prod(shape) == examples for shape in others)
    return place if answers and len(rest) == 1 and rest[0] > 1 else None


def answer_of(task: str, form: OutputForm) -> Answer:
    """The answers of a model: by its task, or by the form of its outputs where the task is unknown.

    Args:
        task: a name in TASKS; others, and outputs that do not fit the task, are told by their form.
    """
    known, shapes = TASKS.get(task), form.shapes
    if not any(form.floats):
        return Answer.LABELS
    single = len(shapes) == 1
    if known is Answer.BINARY and single and (len(shapes[0]) == 1 or tuple(shapes[0][1:]) == (1,)):
        return Answer.BINARY
    matrix = class_matrix(form) is not None
    if known is Answer.VECTORS and matrix:
        return Answer.VECTORS
    if matrix and (known is Answer.CLASSES or (known is None and form.alike)):
        return Answer.CLASSES
    return Answer.VALUES
