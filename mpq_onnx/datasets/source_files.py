"""Which files a data spec reads, so that they can be taken to another machine."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.datasets.class_names import CLASSES_OPTION
from mpq_onnx.datasets.glue_mnli import FILES as GLUE_FILES
from mpq_onnx.datasets.image_list import read_list
from mpq_onnx.datasets.kinds import IMAGE_SUFFIXES
from mpq_onnx.datasets.spec import DataSpec, parse_spec
from mpq_onnx.errors import DataError


@dataclass(frozen=True)
class SourceFiles:
    """A file, or a folder with those of its files that are read."""

    name: str
    """As the spec, or whoever asks for it, calls it."""
    folder: Path
    """What the files lie in."""
    main: str
    """What `name` means, relative to `folder`; empty for the folder itself."""
    files: tuple[str, ...]
    """Relative to `folder`."""


def one_file(name: str) -> SourceFiles:
    """A file that needs no other."""
    path = Path(name)
    return SourceFiles(name, path.parent, path.name, (path.name,))


def source_files(text: str) -> tuple[SourceFiles, ...]:
    """All that the spec `text` reads; nothing for kinds that make their examples up.

    Raises:
        DataError: files that lie outside the folder that the spec names.
    """
    spec = parse_spec(text)
    find = FINDERS.get(spec.kind)
    if find is None:
        return ()
    extra = [spec.options[name] for name in FILE_OPTIONS.get(spec.kind, ()) if name in spec.options]
    return (*find(spec), *map(one_file, extra))


def is_made(text: str) -> bool:
    """The spec has no files: its examples come from code."""
    return parse_spec(text).kind not in FINDERS


def _one(spec: DataSpec) -> Iterator[SourceFiles]:
    yield one_file(spec.path)


def _images(spec: DataSpec) -> Iterator[SourceFiles]:
    root = Path(spec.path)
    found = (path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    yield SourceFiles(spec.path, root, "", tuple(sorted(path.relative_to(root).as_posix() for path in found)))


def _glue(spec: DataSpec) -> Iterator[SourceFiles]:
    root = Path(spec.path)
    yield SourceFiles(
        spec.path, root, "", tuple(name for name in GLUE_FILES.values() if (root / name).is_file())
    )


def _image_list(spec: DataSpec) -> Iterator[SourceFiles]:
    listed = Path(spec.path)
    names = tuple(dict.fromkeys(name for name, _ in read_list(listed, spec.text)))
    outside = next((name for name in names if Path(name).is_absolute() or ".." in Path(name).parts), None)
    if outside is not None:
        raise DataError(
            f"{spec.text}: {outside} lies outside the list's folder and cannot be taken to a worker; give root= and paths in it"
        )
    root = spec.options.get("root")
    if root is None:
        yield SourceFiles(spec.path, listed.parent, listed.name, (listed.name, *names))
        return
    yield one_file(spec.path)
    yield SourceFiles(root, Path(root), "", names)


FINDERS: Mapping[str, Callable[[DataSpec], Iterator[SourceFiles]]] = {
    "npz": _one, "text": _one, "csv": _one, "criteo": _one, "imagefolder": _images, "imagenet": _images,
    "imagelist": _image_list, "glue-mnli": _glue,
}  # fmt: skip
FILE_OPTIONS = {
    "csv": ("columns",), "imagefolder": (CLASSES_OPTION,), "imagenet": (CLASSES_OPTION,), "imagelist": (CLASSES_OPTION,),
}  # fmt: skip
"""Options that name a file of their own."""
