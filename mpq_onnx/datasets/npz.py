"""npz:FILE - arrays by model input name, or `images` for a model with one input; `labels` where there are any."""

import zipfile

import numpy as np

from mpq_onnx.datasets.arrays import array_examples
from mpq_onnx.datasets.base import Examples, Facts
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

HARMLESS_BYTES = 2**28
LARGEST_INFLATION = 200
"""Above HARMLESS_BYTES no array shrinks so far, unless it is all the same (deflate ends at about 1000)."""


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """Arrays are preprocessed when they are images: named `images`, or of four dimensions."""
    preprocessing = Preprocessing.of_model(facts, spec)
    return array_examples(_load(spec), inputs, preprocessing, spec.text)


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
