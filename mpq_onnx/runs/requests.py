"""What a run was asked for, by content: a run is gone on with, and work is shared, only where nothing of it has changed."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mpq_onnx
from mpq_onnx.datasets import Dataset
from mpq_onnx.datasets.content_digest import dataset_digest
from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.files import here, sha256_of, write_text
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.graph.model_file import external_files
from mpq_onnx.ranks import Ranks
from mpq_onnx.runs.preparation import FloatModel

CONTENT = " content"
"""Ends the names of the parts of a request that are hashes."""


def contents_of(
    model: FloatModel,
    files: Mapping[str, str | os.PathLike[str] | None] | None = None,
    /,
    **data: Dataset | None,
) -> dict[str, str | None]:
    """Hashes of what a result is made from: the model's fingerprint, the data sets' digests, the bytes of other files."""
    found: dict[str, str | None] = {f"model{CONTENT}": model.fingerprint}
    for name, dataset in data.items():
        found[name + CONTENT] = None if dataset is None else dataset_digest(dataset)
    for name, path in (files or {}).items():
        if path is not None:
            found[name + CONTENT] = _file_digest(path)
    return found


def request_text(contents: Mapping[str, str | None], options: Any, /, **facts: object) -> str:
    """Everything that a result depends on, as a JSON object.

    Args:
        contents: see contents_of.
        options: a dataclass of options, or a mapping; a target stands for what its file says, whatever it is called.
        facts: data specs, budgets, and whatever is no option.
    """
    plain = dict(options) if isinstance(options, Mapping) else plain_options(options)
    document = {"version": mpq_onnx.__version__, **contents, **facts, **plain}
    return json.dumps(document, indent=1, sort_keys=True, default=str) + "\n"


def plain_options(options: Any) -> dict[str, Any]:
    """A request's options by name, its target as the digest of what the file says."""
    plain = dataclasses.asdict(options)
    record = getattr(options, "target_record", None)
    return plain if record is None else {**plain, "target": record.sha256}


def state_request(path: Path, request: str, complaint: str) -> None:
    """Keep a request in a file, or see that the file holds the same.

    Args:
        complaint: what to say of another request, with {differs} for what it differs in.

    Raises:
        UsageError: it holds another.
    """
    if path.is_file():
        differing = _differing(path.read_text(encoding="utf-8"), request)
        if differing:
            raise UsageError(complaint.format(differs=", ".join(differing)))
    write_text(path, request)


def check_same_request(ranks: Ranks, request: str) -> None:
    """Raise UsageError unless all ranks were asked for the same, by content."""
    first, *others = ranks.gather(request)
    for rank, other in enumerate(others, 1):
        if other != first:
            raise UsageError(
                f"rank {rank} was asked for something else than rank 0 (other: {', '.join(_differing(first, other))}); give all"
                " processes the same command, model and data"
            )


def file_state(path: str | os.PathLike[str] | GivenModel) -> tuple[object, ...]:
    """Name, size and time of change of a model file and of the files of its weights: quick to have, for this process alone."""
    if isinstance(path, GivenModel):
        return (path,)
    try:
        files = (here(path), *external_files(path))
        states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except Exception:  # whatever is wrong with it is said where it is read
        return (str(path),)
    return tuple(states)


def _differing(stated: str, request: str) -> list[str]:
    """Names of what is not the same in two requests; contents only where the name of what holds them is the same."""
    if stated == request:
        return []
    wanted = json.loads(request)
    try:
        found = json.loads(stated)
        names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    except (ValueError, TypeError, AttributeError):
        return ["all of it"]
    return [
        name
        for name in names
        if name.removesuffix(CONTENT) == name or name.removesuffix(CONTENT) not in names
    ]


def _file_digest(path: str | os.PathLike[str]) -> str:
    try:
        return sha256_of(here(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
