"""imagelist:FILE - an image's path and its label a line, as ImageNet's validation set is often kept.

A space, a tab or a comma parts them. Paths are relative to the file, or to `root=`. Labels are numbers, or names in the file of
`classes=` or of the model's classes.
"""

from pathlib import Path

from mpq_onnx.datasets.base import Examples, Facts
from mpq_onnx.datasets.class_names import class_file_numbers, model_classes, named_labels, numbers_by_name
from mpq_onnx.datasets.image_files import ImageFile, image_examples
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

SEPARATORS = ("\t", ",", None)
"""The first that a line holds parts it at its last place: paths may hold the others. None is any white space."""
COMMENT = "#"


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """The images of the list, in its order."""
    preprocessing = Preprocessing.of_model(facts, spec)
    list_file = Path(spec.path)
    root = Path(spec.option("root", str(list_file.parent)) or ".")
    rows = read_list(list_file, spec.text)
    for name, _ in rows:
        if not (root / name).is_file():
            raise DataError(
                f"{spec.text}: no such file {root / name}; give the folder of the paths with root="
            )
    labels = _labels([label for _, label in rows], spec, facts)
    files = [ImageFile(root / name, name, label) for (name, _), label in zip(rows, labels, strict=True)]
    return image_examples(files, preprocessing, inputs[0], spec.text)


def read_list(list_file: Path, where: str) -> list[tuple[str, str]]:
    """(path, label) of every line; `where` names the data in errors.

    Raises:
        DataError: it cannot be read, or has no lines.
    """
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{where}: no such file {list_file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: {list_file} cannot be read as text: {error}") from error
    rows = [
        _parts(line, f"{where}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith(COMMENT)
    ]
    if not rows:
        raise DataError(f"{where}: {list_file} has no lines; a path and a label a line are expected")
    return rows


def _parts(line: str, where: str) -> tuple[str, str]:
    """(path, label)"""
    for separator in SEPARATORS:
        parts = [part.strip().strip('"') for part in line.strip().rsplit(separator, 1)]
        if len(parts) == 2 and all(parts):
            return parts[0], parts[1]
    raise DataError(f"{where}: {line.strip()!r} has no path and label, parted by a space, a tab or a comma")


def _labels(texts: list[str], spec: DataSpec, facts: Facts) -> list[int]:
    """Classes from names where all are names, else from numbers."""
    given = class_file_numbers(spec)
    known = numbers_by_name(model_classes(facts)) if given is None else given
    if known and all(text.lower() in known for text in texts):
        return named_labels(texts, known, spec.text)
    numbers = [_number(text, given is not None, spec.text) for text in texts]
    if given is not None and max(numbers) > max(given.values()):
        raise DataError(f"{spec.text}: label {max(numbers)}, and classes= ends at {max(given.values())}")
    return numbers


def _number(text: str, named: bool, where: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        hint = "nor a name of classes=" if named else "; give names with classes=FILE"
        raise DataError(f"{where}: label {text} is no number of a class{' ' if named else ''}{hint}")
    return number
