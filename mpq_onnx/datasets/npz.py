"""npz:FILE - arrays by model input name, or `images` for a model with one input; `labels` where there are any."""

import zipfile
from collections.abc import Sequence

import numpy as np

from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.identity import array_rows
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

IMAGE_AXES = 4
HARMLESS_BYTES = 2**28
LARGEST_INFLATION = 200
"""Above HARMLESS_BYTES no array shrinks so far, unless it is all the same (deflate ends at about 1000)."""


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """Arrays are preprocessed when they are images: named `images`, or of four dimensions."""
    preprocessing = Preprocessing.of_model(facts, spec)
    arrays = _load(spec)
    labels = arrays.pop("labels", None)
    if not all(wanted.name in arrays for wanted in inputs):
        if len(inputs) == 1 and "images" in arrays:
            arrays = {inputs[0].name: arrays["images"]}
        else:
            raise DataError(
                f"{spec.text}: the file has {', '.join(arrays) or 'no arrays'}, the model wants"
                f" {', '.join(wanted.name for wanted in inputs)} (and labels under the name labels, where there are some)"
            )
    shared = [
        wanted.name
        for wanted in inputs
        if wanted.example_axis is None and arrays[wanted.name].ndim == len(wanted.shape or ())
    ]
    images = {
        wanted.name: preprocessing.for_input(wanted, spec.text)
        for wanted in inputs
        if arrays[wanted.name].ndim == IMAGE_AXES and wanted.name not in shared
    }
    lengths = {name: len(array) for name, array in arrays.items() if name not in shared and array.ndim}
    if labels is not None:
        lengths["labels"] = len(labels)
    if len(set(lengths.values())) != 1:
        raise DataError(f"{spec.text}: arrays of different lengths: {lengths}")

    def read(indices: Sequence[int]) -> Batch:
        chosen = np.asarray(indices)
        batch = {
            name: images[name].apply(array[chosen]) if name in images else array[chosen]
            for name, array in arrays.items()
            if name not in shared
        }
        batch |= {name: np.broadcast_to(arrays[name], (len(chosen), *arrays[name].shape)) for name in shared}
        return Batch(batch, None if labels is None else labels[chosen].astype(np.int64))

    length = next(iter(lengths.values()))
    by_example = {
        name: array
        for name, array in {**arrays, "labels": labels}.items()
        if array is not None and array.ndim and len(array) == length
    }
    return Examples(
        length,
        labels is not None,
        read,
        describe=lambda indices: array_rows(by_example, indices),
        setup=repr(preprocessing),
    )


def _check_inflation(spec: DataSpec) -> None:
    """Refuse a small file that would fill the memory."""
    with zipfile.ZipFile(spec.path) as archive:
        for entry in archive.infolist():
            if entry.file_size > max(LARGEST_INFLATION * entry.compress_size, HARMLESS_BYTES):
                raise DataError(
                    f"{spec.text}: {entry.filename} grows from {entry.compress_size:,} to {entry.file_size:,} bytes: not data;"
                    " save real arrays with numpy.savez"
                )


def _load(spec: DataSpec) -> dict[str, np.ndarray]:
    try:
        _check_inflation(spec)
        with np.load(spec.path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise DataError(f"{spec.text}: no such file {spec.path}") from None
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a broken file
        raise DataError(f"{spec.text}: cannot be read as npz: {error}") from error
