"""Labels as text: numbers of classes, names of classes (the model's own, or those of a file), or scores."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets.base import Dataset, Facts
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.metadata import METADATA_LABELS

CLASSES_OPTION = "classes"


def model_classes(facts: Facts) -> list[str]:
    """Names of the model's classes in lower case; empty where they are unknown."""
    return [str(name).lower() for name in json.loads(facts.get(METADATA_LABELS, "[]"))]


def class_file_numbers(spec: DataSpec) -> dict[str, int] | None:
    """Class by name in lower case, from the file of the option classes=; None where it was not given.

    A line is a class, in the order of the labels. It may hold an identifier and a name (`n01440764 tench`): the class then
    goes by the whole line, by its first word and by the rest, as far as no other line has the same.

    Raises:
        DataError: no such file, no text, or no class in it.
    """
    path = spec.option(CLASSES_OPTION)
    if path is None:
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{spec.text}: classes={path} cannot be read: {error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{spec.text}: classes={path} is empty; one class name a line is expected")
    return numbers_by_name(lines)


def numbers_by_name(lines: Sequence[str]) -> dict[str, int]:
    """See class_file_numbers."""
    texts = [" ".join(line.lower().split()) for line in lines]
    whole = _single((text, number) for number, text in enumerate(texts))
    return _single((name, number) for number, text in enumerate(texts) for name in _short_names(text)) | whole


def _single(places: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The place of every name that has one only."""
    found: dict[str, set[int]] = {}
    for name, number in places:
        found.setdefault(name, set()).add(number)
    return {name: min(numbers) for name, numbers in found.items() if len(numbers) == 1}


def _short_names(line: str) -> Iterator[str]:
    words = line.split()
    if len(words) > 1:
        yield words[0].rstrip(",")
        yield " ".join(words[1:])


def named_labels(names: Sequence[str], classes: dict[str, int], where: str) -> list[int]:
    """The classes of `names`.

    Raises:
        DataError: a name that is no class.
    """
    for name in names:
        if name.lower() not in classes:
            raise DataError(f"{where}: {name} is not among the classes of classes=, or stands for several")
    return [classes[name.lower()] for name in names]


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


def label_notes(dataset: Dataset, model: ir.Model) -> tuple[str, ...]:
    """What to say of labels that are the places of folders, for a model that has another number of classes."""
    folders = dataset.examples.numbered_folders
    shape = model.graph.outputs[0].shape
    classes = shape[-1] if shape is not None and len(shape) == 2 and isinstance(shape[-1], int) else None
    if folders is None or classes is None or folders == classes:
        return ()
    return (
        f"{dataset.name}: {folders} folders, and the model has {classes} classes: label k of the folders is hardly class k of"
        " the model; give classes=FILE, one class name a line in the order of the model's classes",
    )
