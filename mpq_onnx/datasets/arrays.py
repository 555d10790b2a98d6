"""Arrays by name as the examples of a model: what npz files and callers from Python give."""

from collections.abc import Mapping, Sequence

import numpy as np

from mpq_onnx.datasets.base import Batch, Examples, check_numbers
from mpq_onnx.datasets.identity import array_rows
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

IMAGE_AXES = 4
IMAGES, LABELS = "images", "labels"
"""Names that stand for the input of a model with one, and for what is right."""


def array_examples(
    given: Mapping[str, np.ndarray],
    inputs: tuple[ModelInput, ...],
    preprocessing: Preprocessing,
    where: str,
    raw: tuple[str, ...] = (),
) -> Examples:
    """Arrays [examples, ...] by input name, `images` where there is one input, and `labels`.

    Args:
        preprocessing: of arrays of four axes, which are images.
        where: names the arrays in errors.
        raw: names of those that are the model's own input already.

    Raises:
        DataError: an input has no array, or one of no numbers, or lengths differ.
    """
    arrays = dict(given)
    labels = label_array(arrays.pop(LABELS, None), where)
    if not all(wanted.name in arrays for wanted in inputs):
        if len(inputs) == 1 and IMAGES in arrays:
            arrays = {inputs[0].name: arrays[IMAGES]}
            raw = tuple(inputs[0].name if name == IMAGES else name for name in raw)
        else:
            raise DataError(
                f"{where}: the file has {', '.join(arrays) or 'no arrays'}, the model wants"
                f" {', '.join(wanted.name for wanted in inputs)} (and labels under the name labels, where there are some)"
            )
    for wanted in inputs:
        check_numbers(arrays[wanted.name], wanted.name, where)  # before images are preprocessed, in float
    shared = [
        wanted.name
        for wanted in inputs
        if wanted.example_axis is None and arrays[wanted.name].ndim == len(wanted.shape or ())
    ]
    images = {
        wanted.name: preprocessing.for_input(wanted, where)
        for wanted in inputs
        if arrays[wanted.name].ndim == IMAGE_AXES and wanted.name not in (*shared, *raw)
    }
    if preprocessing.given and not images:
        raise DataError(
            f"{where}: {preprocessing.given[0]}= is for images, arrays of {IMAGE_AXES} axes, and none of the model's inputs"
            " is one; leave it out"
        )
    lengths = {name: len(array) for name, array in arrays.items() if name not in shared and array.ndim}
    if labels is not None:
        lengths[LABELS] = len(labels)
    if len(set(lengths.values())) != 1:
        raise DataError(f"{where}: arrays of different lengths: {lengths}")

    def read(indices: Sequence[int]) -> Batch:
        chosen = np.asarray(indices)
        batch = {
            name: images[name].apply(array[chosen]) if name in images else array[chosen]
            for name, array in arrays.items()
            if name not in shared
        }
        batch |= {name: np.broadcast_to(arrays[name], (len(chosen), *arrays[name].shape)) for name in shared}
        return Batch(batch, None if labels is None else labels[chosen])

    length = next(iter(lengths.values()))
    by_example = {
        name: array
        for name, array in {**arrays, LABELS: labels}.items()
        if array is not None and array.ndim and len(array) == length
    }
    return Examples(
        length,
        labels is not None,
        read,
        describe=lambda indices: array_rows(by_example, indices),
        setup=repr(preprocessing),
    )


def label_array(given: np.ndarray | None, where: str) -> np.ndarray | None:
    """int64 where all are whole numbers, else float64 scores; a column [examples, 1] as a vector.

    Raises:
        DataError: they are no numbers.
    """
    if given is None:
        return None
    if given.dtype.kind not in "fiub" or (given.dtype.kind == "f" and not np.isfinite(given).all()):
        raise DataError(
            f"{where}: labels of {given.dtype} that are no numbers; give classes from 0, or scores"
        )
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    whole = given.dtype.kind != "f" or bool((given == np.floor(given)).all())
    return given.astype(np.int64 if whole else np.float64)
