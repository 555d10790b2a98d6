"""imagefolder:DIR - one subfolder a class, in alphabetical order, as torchvision and many data sets have it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.model_inputs import ModelInput

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff"})


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """Images are opened when they are read, not before."""
    preprocessing = Preprocessing.of_model(facts, spec)
    root = Path(spec.path)
    if not root.is_dir():
        raise DataError(f"{spec.text}: no such folder {root}")
    classes = sorted(folder for folder in root.iterdir() if folder.is_dir())
    files = [
        (path, label)
        for label, folder in enumerate(classes)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise DataError(f"{spec.text}: no images in subfolders of {root}; one subfolder a class is expected")
    stored = Preprocessing(
        layout="nhwc", mean=preprocessing.mean, std=preprocessing.std, scale=preprocessing.scale
    )

    def read(indices: Sequence[int]) -> Batch:
        images = [_load(preprocessing, files[index][0]) for index in indices]
        if len({image.shape for image in images}) > 1:
            raise DataError(f"{spec.text}: images of different sizes; set resize= and crop=")
        labels = np.array([files[index][1] for index in indices], dtype=np.int64)
        return Batch({inputs[0].name: stored.apply(np.stack(images))}, labels)

    return Examples(len(files), True, read)


def _load(preprocessing: Preprocessing, path: Path) -> np.ndarray:
    try:
        return preprocessing.load_image(str(path))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
