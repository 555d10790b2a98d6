"""What earlier commands have left in a folder: kept unless somebody says --overwrite, and never mixed with another's."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from mpq_onnx.documents.loading import load_document
from mpq_onnx.documents.precision_document import EDITED
from mpq_onnx.errors import MpqOnnxError, OutputError, UsageError
from mpq_onnx.files import here
from mpq_onnx.graph.model_file import remove_stale_data

ALLOCATE, SWEEP, SEARCH, HANDOFF = "allocate", "sweep", "search", "handoff"
LEFT: dict[str, tuple[str, ...]] = {
    ALLOCATE: (
        "result.json", "allocation.json", "energy.json", "model.onnx", "card.json", "card.md", "config.yaml",
        "calibration.json", "training.log", "candidates", "digital",
    ),
    SWEEP: ("sweep-request.json", "results.jsonl", "results.csv", "runs"),
    SEARCH: ("search.json", "probes", "config.yaml", "calibration.json", "digital"),
    HANDOFF: ("handoff.json", "golden", "card.json", "card.md", "model.onnx"),
}  # fmt: skip
"""What each command writes into its folder. The first of each is there in every finished result."""
MARKS = {
    ALLOCATE: ("result.json", "allocation.json", "energy.json", "model.onnx"),
    SWEEP: ("sweep-request.json", "results.jsonl"),
    SEARCH: ("search.json", "probes"),
    HANDOFF: ("handoff.json",),
}
"""By what a folder is known to hold a result; in this order of belief."""
BELIEF = (SWEEP, SEARCH, HANDOFF, ALLOCATE)


def holder(folder: Path) -> tuple[str, str] | None:
    """(the command that filled a folder, the file that says so), or None for a folder without results."""
    for command in BELIEF:
        for name in MARKS[command]:
            if os.path.exists(folder / name):  # noqa: PTH110 - any name, however long
                return command, name
    return None


def check_free(folder: Path, command: str, is_own: Callable[[], bool], overwrite: bool) -> None:
    """Raise UsageError where a folder holds what another request, or another command, has left.

    Args:
        is_own: whether what `command` left there was made by this very request.
    """
    found = holder(folder)
    if found is None or overwrite:
        return
    other, name = found
    if other == command and is_own() and not _edited(folder):
        return
    raise UsageError(
        f"{folder}: holds {_described(folder, other)} ({name}); choose another folder with -o, or --overwrite what is there"
    )


def make_room(folder: Path, command: str, overwrite: bool) -> None:
    """For a command that goes on from what it finds: refuse the results of others, or take everything away.

    Raises:
        UsageError: another command's results are there, and are not to be overwritten.
    """
    check_free(folder, command, lambda: True, overwrite)
    if overwrite:
        remove(folder, left_by_earlier(folder))


def check_stays(folder: Path, source: object) -> None:
    """Raise UsageError where what a command reads would be taken away with the results in its folder.

    Args:
        source: a path, or what is none.
    """
    if not isinstance(source, str | os.PathLike):
        return
    home, path = (Path(os.path.realpath(here(each))) for each in (folder, source))
    if any(path.is_relative_to(home / name) for name in left_by_earlier(home)):
        raise UsageError(
            f"{os.fspath(source)}: is among the results in {folder} that --overwrite replaces; choose another folder with -o"
        )


def left_by_earlier(folder: Path) -> frozenset[str]:
    """Names in a folder that earlier results consist of: what the commands write that have finished one there."""
    names = {
        name
        for command, marks in MARKS.items()
        if any((folder / mark).exists() for mark in marks)
        for name in LEFT[command]
        if (folder / name).exists()
    }
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        handed = json.loads((folder / MARKS[HANDOFF][0]).read_text(encoding="utf-8"))["files"]
        names |= {
            str(name) for name in handed if not Path(name).is_absolute() and ".." not in Path(name).parts
        }
    return frozenset(names)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Take away results; what is not among `names` stays.

    Raises:
        OutputError: the system refuses.
    """
    try:
        for name in names:
            place = folder / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
            if place.suffix == ".onnx" and place.parent.is_dir():
                remove_stale_data(place, ())
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}; choose another folder") from error


def _described(folder: Path, command: str) -> str:
    if command == ALLOCATE and _edited(folder):
        return "an allocation that was edited by hand"
    what = {ALLOCATE: "another result", SWEEP: "a sweep", SEARCH: "a search", HANDOFF: "a hand-off"}
    return what[command]


def _edited(folder: Path) -> bool:
    """An allocation there is not as it was written."""
    for name in ("allocation.json", "energy.json"):
        if (folder / name).is_file():
            try:
                if load_document(folder / name).settings.method == EDITED:
                    return True
            except MpqOnnxError:
                return True
    return False
