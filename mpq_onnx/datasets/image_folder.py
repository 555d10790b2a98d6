"""imagefolder:DIR - one subfolder a class, as torchvision and many data sets have it.

Labels are the places of the subfolders' names in the file of `classes=`, or among the model's own class names, or else in
alphabetical order.
"""

from pathlib import Path

from mpq_onnx.datasets.base import Examples, Facts
from mpq_onnx.datasets.class_names import class_file_numbers, model_classes, named_labels, numbers_by_name
from mpq_onnx.datasets.image_files import ImageFile, image_examples
from mpq_onnx.datasets.kinds import IMAGE_SUFFIXES
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """The images of all subfolders; hidden ones are no classes."""
    preprocessing = Preprocessing.of_model(facts, spec)
    root = Path(spec.path)
    if not root.is_dir():
        raise DataError(f"{spec.text}: no such folder {root}")
    folders = sorted(
        folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")
    )
    images = {
        folder.name: [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
        for folder in folders
    }
    if not any(images.values()):
        raise DataError(f"{spec.text}: no images in subfolders of {root}; one subfolder a class is expected")
    labels = _labels(spec, facts, images)
    files = [
        ImageFile(path, path.relative_to(root).as_posix(), (labels or {name: place})[name])
        for place, name in enumerate(images)
        for path in images[name]
    ]
    numbered = None if labels is not None else len(images)
    return image_examples(files, preprocessing, inputs[0], spec.text, numbered)


def _labels(spec: DataSpec, facts: Facts, images: dict[str, list[Path]]) -> dict[str, int] | None:
    """Class by folder, by its name; None where no names are known."""
    given = class_file_numbers(spec)
    used = [name for name, files in images.items() if files]
    if given is not None:
        return dict(zip(used, named_labels(used, given, spec.text), strict=True))
    own = numbers_by_name(model_classes(facts))
    if all(name.lower() in own for name in used):
        return {name: own[name.lower()] for name in used}
    return None
