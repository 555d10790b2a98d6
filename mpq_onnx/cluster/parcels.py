"""What travels: files by content, under the names that a request gives them."""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.datasets.source_files import SourceFiles
from mpq_onnx.errors import DataError
from mpq_onnx.files import sha256_of

PIECE = 8 * 2**20
"""Bytes that are sent at once."""


@dataclass(frozen=True)
class Entry:
    """One file."""

    path: str
    """Relative to the parcel's folder."""
    bytes: int
    sha256: str
    changed: int
    """Nanoseconds, as the file system has it; a copy gets the same."""


@dataclass(frozen=True)
class Parcel:
    """A file, or a folder, with all that it needs beside it."""

    name: str
    """As requests call it."""
    folder: str
    """Where its files lie on the caller's machine, and perhaps on others."""
    main: str
    """What `name` means in the folder; empty for the folder itself."""
    entries: tuple[Entry, ...]

    @functools.cached_property
    def digest(self) -> str:
        """Of paths and contents."""
        lines = (f"{entry.sha256} {entry.path}\n" for entry in self.entries)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def pieces(self) -> Iterator[list[tuple[int, bytes]]]:
        """The contents in order, PIECE bytes at a time: (number of the entry, what follows in it)."""
        piece: list[tuple[int, bytes]] = []
        room = PIECE
        for number, entry in enumerate(self.entries):
            with (Path(self.folder) / entry.path).open("rb") as file:
                while part := file.read(room):
                    piece.append((number, part))
                    room -= len(part)
                    if not room:
                        yield piece
                        piece, room = [], PIECE
            if not entry.bytes:
                piece.append((number, b""))
        if piece:
            yield piece

    def lies_in(self, folder: Path) -> bool:
        """Whether `folder` has the very same files."""
        try:
            return all(
                (folder / entry.path).stat().st_size == entry.bytes
                and sha256_of(folder / entry.path) == entry.sha256
                for entry in self.entries
            )
        except OSError:
            return False


def pack(sources: Iterable[SourceFiles]) -> tuple[Parcel, ...]:
    """Parcels of some files; what is asked for twice travels once.

    Raises:
        DataError: a file cannot be read.
    """
    return tuple(_parcel(each) for each in dict.fromkeys(sources))


def _parcel(source: SourceFiles) -> Parcel:
    entries = []
    for name in source.files:
        path = source.folder / name
        try:
            state = path.stat()
            entries.append(Entry(name, state.st_size, sha256_of(path), state.st_mtime_ns))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return Parcel(source.name, str(source.folder.resolve()), source.main, tuple(entries))
