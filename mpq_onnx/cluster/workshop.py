"""What stands on a worker for the time of a session: the files that came, work that runs share, and one run at a time."""

import asyncio
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from distributed import Worker, WorkerPlugin, get_worker

from mpq_onnx.cluster.parcels import Parcel
from mpq_onnx.errors import DataError
from mpq_onnx.files import placed

FILES_FOLDER = "mpq-onnx-files"
"""In the worker's own folder, which goes when the worker ends."""

Task = Callable[..., Any]
"""task(memory, *arguments), which writes into the folder that its job names."""
Check = Callable[[], str | None]
"""Says what keeps this worker from doing the work; None where nothing does."""


class Memory(Protocol):
    """What tasks of one worker keep for those that come after them."""

    def tell(self) -> dict[str, bytes]:
        """What other workers can use of it, and have not been told."""

    def learn(self, told: Mapping[str, bytes]) -> None:
        """Take what other workers told."""


class NotReadyError(Exception):
    """The worker has started anew, and knows nothing of the session."""


@dataclass(frozen=True)
class Done:
    """What a task returned, and the files that it wrote."""

    value: Any
    files: dict[str, bytes]
    """By their paths in the job's folder."""
    told: dict[str, bytes]
    """What it made that other workers can use."""


class Workshop(WorkerPlugin):
    """One session's state on one worker process."""

    def __init__(self, parcels: Sequence[Parcel], remember: Callable[[], Memory], quiet: bool) -> None:
        """Args:
        remember: makes the memory.
        quiet: the process is ours alone and shares the caller's terminal, where the caller shows what happens.
        """
        self.parcels = {parcel.digest: parcel for parcel in parcels}
        self.remember, self.quiet = remember, quiet

    def setup(self, worker: Worker) -> None:
        """On the worker."""
        self.files = Path(worker.local_directory) / FILES_FOLDER
        self.memory = self.remember()
        self.busy = threading.Lock()
        self.places: dict[Path, Path] = {}
        if self.quiet:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  for the life of the process

    def lacking(self) -> list[str]:
        """Digests of the parcels that neither lie at the caller's own path nor have come before."""
        for parcel in self.parcels.values():
            for folder in (Path(parcel.folder), self.files / parcel.digest):
                if Path(parcel.name) not in self.places and parcel.lies_in(folder):
                    self.places[Path(parcel.name)] = folder / parcel.main
        return [each.digest for each in self.parcels.values() if Path(each.name) not in self.places]

    def take(self, digest: str, piece: Sequence[tuple[int, bytes]], first: bool) -> None:
        """Some of a parcel's contents; `first` begins it."""
        parcel, folder = self.parcels[digest], self._arriving(digest)
        if first:
            shutil.rmtree(folder, ignore_errors=True)
        for number, part in piece:
            path = folder / parcel.entries[number].path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(part)

    def complete(self, digest: str) -> None:
        """All of a parcel has come.

        Raises:
            DataError: it is not what was sent.
        """
        parcel, folder = self.parcels[digest], self._arriving(digest)
        for entry in parcel.entries:
            os.utime(folder / entry.path, ns=(entry.changed, entry.changed))
        if not parcel.lies_in(folder):
            raise DataError(f"{parcel.name}: arrived damaged, or changed while it was sent; start again")
        shutil.rmtree(self.files / digest, ignore_errors=True)
        folder.rename(self.files / digest)
        self.places[Path(parcel.name)] = self.files / digest / parcel.main

    def _arriving(self, digest: str) -> Path:
        return self.files / f"{digest}.arriving"

    def check(self, check: Check) -> str | None:
        """What `check` says, with the files in place."""
        with placed(self.places):
            return check()

    def do(self, task: Task, folder: str, arguments: Sequence[Any]) -> Done:
        """A task in a scratch folder that it knows as `folder`."""
        with (
            self.busy,
            tempfile.TemporaryDirectory(prefix="mpq-onnx-", dir=self.files.parent) as scratch,
            placed({**self.places, Path(folder): Path(scratch)}),
        ):
            value = task(self.memory, *arguments)
            written = sorted(path for path in Path(scratch).rglob("*") if path.is_file())
            files = {path.relative_to(scratch).as_posix(): path.read_bytes() for path in written}
            return Done(value, files, self.memory.tell())


async def enter(session: str, workshop: Workshop, dask_worker: Worker) -> list[str]:
    """Set the workshop up, unless it is; digests of the parcels that are to be sent."""
    if session not in dask_worker.plugins:
        await dask_worker.plugin_add(workshop, name=session, catch_errors=False)
    return await asyncio.to_thread(_of(session, dask_worker).lacking)


async def take(
    session: str, digest: str, piece: Sequence[tuple[int, bytes]], first: bool, dask_worker: Worker
) -> None:
    """See Workshop.take."""
    await asyncio.to_thread(_of(session, dask_worker).take, digest, piece, first)


async def complete(session: str, digest: str, dask_worker: Worker) -> None:
    """See Workshop.complete."""
    await asyncio.to_thread(_of(session, dask_worker).complete, digest)


async def check(session: str, check: Check, dask_worker: Worker) -> str | None:
    """See Workshop.check."""
    return await asyncio.to_thread(_of(session, dask_worker).check, check)


async def learn(session: str, told: Mapping[str, bytes], dask_worker: Worker) -> None:
    """See Memory.learn."""
    await asyncio.to_thread(_of(session, dask_worker).memory.learn, told)


async def leave(session: str, dask_worker: Worker) -> None:
    """Take the workshop down, and what came for it."""
    if session in dask_worker.plugins:
        files = _of(session, dask_worker).files
        await dask_worker.plugin_remove(name=session)
        await asyncio.to_thread(shutil.rmtree, files, ignore_errors=True)


def work(session: str, task: Task, folder: str, arguments: Sequence[Any]) -> Done:
    """What is submitted to dask.

    Raises:
        NotReadyError: see there.
    """
    return _of(session, get_worker()).do(task, folder, arguments)


def _of(session: str, worker: Worker) -> Workshop:
    found = worker.plugins.get(session)
    if not isinstance(found, Workshop):
        raise NotReadyError(session)
    return found
