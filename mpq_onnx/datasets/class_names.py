"""Labels as text: numbers of classes, names of a model's classes, or scores."""

import json
from collections.abc import Sequence

import numpy as np

from mpq_onnx.datasets.base import Facts
from mpq_onnx.errors import DataError
from mpq_onnx.metadata import METADATA_LABELS


def model_classes(facts: Facts) -> list[str]:
    """Names of the model's classes in lower case; empty where they are unknown."""
    return [str(name).lower() for name in json.loads(facts.get(METADATA_LABELS, "[]"))]


def class_numbers(labels: Sequence[str], facts: Facts, where: str) -> np.ndarray:
    """int64 classes where all labels are whole numbers or names of the model's classes, else float64 scores.

    Raises:
        DataError: a label that is neither.
    """
    classes = model_classes(facts)
    named = {name: number for number, name in enumerate(classes)}
    if all(label.lower() in named for label in labels):
        return np.array([named[label.lower()] for label in labels], np.int64)
    try:
        return np.array([int(label) for label in labels], np.int64)
    except ValueError:
        pass
    try:
        return np.array([float(label) for label in labels], np.float64)
    except ValueError as error:
        known = f" nor one of {', '.join(classes)}" if classes else ""
        raise DataError(f"{where}: a label is no number{known}: {error}") from None
