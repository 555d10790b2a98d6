"""What a worker needs for allocations of one model: its files, and data that it has to make by itself."""

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpq_onnx.cluster.crew import Kit
from mpq_onnx.cluster.opening import Workers
from mpq_onnx.cluster.parcels import pack
from mpq_onnx.datasets import InMemory
from mpq_onnx.datasets.content_digest import dataset_digest
from mpq_onnx.datasets.source_files import SourceFiles, is_made, one_file, source_files
from mpq_onnx.errors import MpqOnnxError, UsageError
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.graph.model_file import external_files
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.runs.noisy_graph import load_noise_free
from mpq_onnx.targets.loading import shipped_texts


@dataclass(frozen=True)
class Needs:
    """The inputs of all jobs, by the names that the request gives them."""

    model: str | GivenModel
    data: Mapping[str | InMemory, str | None]
    """Digests by data spec."""
    files: Sequence[str] = ()
    """Cost tables, calibrations."""
    targets: Sequence[str] = field(default=())
    """Names of shipped targets, or files."""

    def sources(self) -> Iterator[SourceFiles]:
        """All files."""
        assert isinstance(self.model, str)  # see check_can_travel
        model = Path(self.model)
        weights = (path.relative_to(model.parent).as_posix() for path in external_files(model))
        yield SourceFiles(self.model, model.parent, model.name, (model.name, *weights))
        for spec in self.data:
            yield from source_files(str(spec))
        yield from map(one_file, self.files)
        yield from map(one_file, set(self.targets) - shipped_texts().keys())


def check_can_travel(workers: Workers, *sources: object) -> None:
    """Raise UsageError where other processes are to work on models or data that lie in the memory of this one."""
    held = next((source for source in sources if isinstance(source, GivenModel | InMemory)), None)
    if held is not None and not workers.here_alone:
        raise UsageError(
            f"{held}: other processes cannot read it; save it and give the file, or leave jobs at 1"
        )


def kit_for(task: Callable[..., Any], needs: Needs, sees_files: bool) -> Kit:
    """What `task` needs on a worker, which may see the files that the caller sees.

    Raises:
        DataError: a file that cannot be read, or cannot travel.
    """
    if sees_files:
        return Kit(task, SharedWork)
    made = {str(spec): digest for spec, digest in needs.data.items() if is_made(str(spec))}
    return Kit(task, SharedWork, pack(needs.sources()), functools.partial(_unlike, needs.model, made))


def _unlike(model: str | GivenModel, made: Mapping[str, str | None]) -> str | None:
    """What a worker makes otherwise than the caller: examples that come from code."""
    importlib.import_module("torch")  # seconds that no run waits for
    if not made:
        return None
    opened = load_noise_free(model)
    for spec, digest in made.items():
        try:
            found = dataset_digest(opened.open_data(spec))
        except MpqOnnxError as error:
            return f"no such data: {error}; install the module there, or save the arrays as npz"
        if found != digest:
            return f"other data by the name {spec}; save the arrays as npz, which travels"
    return None
