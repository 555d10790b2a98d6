"""imagenet:DIR - ImageNet as torchvision lays it out: train/ and val/, one subfolder (n01440764, ...) a class.

`split=train` or `split=val` (default); `classes=` as for imagefolder. Images go through the model's own resize, crop and
normalization.
"""

import dataclasses
from pathlib import Path

from mpq_onnx.datasets import image_folder
from mpq_onnx.datasets.base import Examples, Facts
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

SPLITS = ("train", "val")


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """The images of one split."""
    split = spec.choice("split", "val", SPLITS)
    folder = Path(spec.path) / split
    if not folder.is_dir():
        raise DataError(
            f"{spec.text}: no such folder {folder}; DIR/train and DIR/val with one subfolder a class are expected"
        )
    return image_folder.open_examples(dataclasses.replace(spec, path=str(folder)), inputs, facts)
