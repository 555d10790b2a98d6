"""Labelled image files, opened when they are read, whatever named them."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpq_onnx.datasets.base import Batch, Examples
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput


@dataclass(frozen=True)
class ImageFile:
    """One example."""

    path: Path
    name: str
    """The path inside the data set, which stays the same wherever the data set lies."""
    label: int


def image_examples(
    files: Sequence[ImageFile],
    preprocessing: Preprocessing,
    wanted: ModelInput,
    where: str,
    numbered_folders: int | None = None,
) -> Examples:
    """The examples of some files; `where` names the data in errors."""
    stored = dataclasses.replace(preprocessing.for_input(wanted, where), layout="nhwc")

    def read(indices: Sequence[int]) -> Batch:
        images = [_load(preprocessing, files[index].path) for index in indices]
        if len({image.shape for image in images}) > 1:
            raise DataError(f"{where}: images of different sizes; set resize= and crop=")
        labels = np.array([files[index].label for index in indices], dtype=np.int64)
        return Batch({wanted.name: stored.apply(np.stack(images))}, labels)

    def describe(indices: Sequence[int]) -> Iterator[bytes]:
        return (f"{files[index].name}\0{files[index].label}".encode() for index in indices)

    def describe_version(indices: Sequence[int]) -> Iterator[bytes]:
        for index in indices:
            state = files[index].path.stat()
            yield repr((files[index].name, files[index].label, state.st_size, state.st_mtime_ns)).encode()

    return Examples(
        len(files),
        True,
        read,
        describe=describe,
        describe_version=describe_version,
        setup=repr(preprocessing),
        numbered_folders=numbered_folders,
        image_files=True,
    )


def _load(preprocessing: Preprocessing, path: Path) -> np.ndarray:
    try:
        return preprocessing.load_image(str(path))
    except OSError as error:  # Pillow's UnidentifiedImageError is one
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
