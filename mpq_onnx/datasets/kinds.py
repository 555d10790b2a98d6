"""Which kind of data a path is of, where it is plain to see; else the specs that it could be."""

import zipfile
from pathlib import Path

from mpq_onnx.errors import LONGEST_REASON, DataError, one_line

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".ppm", ".webp", ".tif", ".tiff"})
TABLES = (".csv", ".tsv", ".txt", ".gz")
SEEN = 200
"""Files and folders that are looked at to tell what a folder holds."""
EXAMPLE = "npz:train.npz"


def kind_of(path: str, options: frozenset[str], text: str) -> str:
    """The kind of the file or folder at `path`.

    Args:
        options: names of the options that the spec has.
        text: the spec, for errors.

    Raises:
        DataError: it is none, or may be of several kinds; the message shows the specs.
    """
    place = Path(path)
    try:
        if path and place.is_dir():
            return _of_folder(place, text)
        suffix = place.suffix.lower()
        if suffix == ".npz" or (place.is_file() and zipfile.is_zipfile(place)):
            return "npz"
        if suffix in TABLES or suffix in IMAGE_SUFFIXES or place.is_file():
            return _of_file(place, suffix, options, text)
    except (OSError, ValueError) as error:  # no permission, a name that no file can have
        raise DataError(f"data spec {text[:LONGEST_REASON]}: {one_line(error)}") from error
    raise DataError(
        f"data spec {text or repr(text)}: no such kind of data, and no such file or folder; write kind:path, such as {EXAMPLE}"
    )


def _of_folder(place: Path, text: str) -> str:
    """imagenet where train/ and val/ hold folders, imagefolder where subfolders hold images, glue-mnli by its files."""
    names = {each.name for _, each in zip(range(SEEN), place.iterdir(), strict=False)}
    if {"train", "val"} <= names and _has_classes(place / "val"):
        return "imagenet"
    if _has_classes(place):
        return "imagefolder"
    if {"dev_matched.tsv", "dev_mismatched.tsv"} & names:
        return "glue-mnli"
    if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        raise DataError(
            f"data spec {text}: images without labels by folder; put each class into a subfolder (imagefolder:{place}), or"
            " write a list of paths and labels (imagelist:FILE)"
        )
    arrays = sorted(name for name in names if name.endswith(".npz"))
    if arrays:
        raise DataError(f"data spec {text}: a folder; write npz:{place / arrays[0]}, or another file of it")
    raise DataError(
        f"data spec {text}: a folder of no known kind; write imagefolder:{place} (one subfolder a class), imagenet:{place}"
        f" (train/ and val/) or glue-mnli:{place}"
    )


def _has_classes(place: Path) -> bool:
    """Some subfolder holds an image."""
    if not place.is_dir():
        return False
    folders = (each for each in sorted(place.iterdir()) if each.is_dir() and not each.name.startswith("."))
    return any(
        file.suffix.lower() in IMAGE_SUFFIXES
        for _, folder in zip(range(SEEN), folders, strict=False)
        for _, file in zip(range(SEEN), folder.rglob("*"), strict=False)
    )


def _of_file(place: Path, suffix: str, options: frozenset[str], text: str) -> str:
    """csv, where a file says what each column is; others are not told by their name."""
    if suffix in (".csv", ".gz") and "columns" in options and _names_columns(text):
        return "csv"
    if suffix == ".npy":
        raise DataError(
            f"data spec {text}: one array without a name; save it with numpy.savez(FILE, images=..., labels=...) and write"
            " npz:FILE"
        )
    if suffix in IMAGE_SUFFIXES:
        raise DataError(
            f"data spec {text}: one image; write imagefolder:DIR (one subfolder a class) or imagelist:FILE"
        )
    tables = f"csv:{place}?columns=FILE.json (numbers and categories, docs/columns.md)"
    texts = f"text:{place}?separator={'comma' if suffix == '.csv' else 'tab'} (sentences)"
    raise DataError(
        f"data spec {text}: may be of several kinds; write {tables}, {texts}, imagelist:{place} (paths of images and labels) or"
        f" criteo:{place}"
    )


def _names_columns(text: str) -> bool:
    return ".json" in text.rpartition("columns=")[2].partition("&")[0]
