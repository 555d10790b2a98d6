"""What the commands that fill a folder share: held-out data, a place for an interrupted run, results moved in when whole."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.datasets import Dataset
from mpq_onnx.datasets.sampling import drawn, split
from mpq_onnx.errors import MpqOnnxError, OutputError, UsageError
from mpq_onnx.files import here, write_text
from mpq_onnx.graph.model_file import DATA_SUFFIX, remove_stale_data
from mpq_onnx.progress import begin
from mpq_onnx.ranks import ALONE, Ranks
from mpq_onnx.runs.requests import state_request

PROGRESS_FOLDER = ".progress"
LOG_FILE = "training.log"
CALIBRATION_FILE = "calibration.json"
VALIDATION_SHARE = 4
"""Without a validation set, one example in so many of the data, drawn by the seed, is kept out of calibration and training."""


FEW_EXAMPLES = 128
"""With fewer left to train on, ranges are those of the held-out examples too: what quarter of 128 vectors was held out decided
about 4 dB, of 512 about half a dB."""


@dataclass(frozen=True)
class SplitData:
    """All in an order drawn by the seed."""

    training: Dataset
    validation: Dataset
    """What candidates are chosen by."""
    measured: Dataset
    """What ranges are calibrated on: the first, unless few; all candidates have the same ranges, so choosing stays fair."""


def split_validation(dataset: Dataset, validation: Dataset | None, seed: int) -> SplitData:
    """Data to train on, to choose by and to calibrate on.

    Args:
        validation: a data set of its own, or None to hold some of `dataset` out.

    Raises:
        UsageError: too few examples to hold some out, or fewer than ranks that share them.
    """
    if validation is not None:
        training, chosen_by = drawn(dataset, seed), drawn(validation, seed)
    elif len(dataset) <= dataset.examples.together:
        raise UsageError(
            f"{dataset.name}: one example is not enough to hold some out; give more, or --validation"
        )
    else:
        training, chosen_by = split(dataset, seed, VALIDATION_SHARE)
    for each, what in ((training, "to calibrate and train on"), (chosen_by, "to choose by")):
        if len(each) < each.ranks.count:
            raise UsageError(
                f"{each.name}: {len(each)} examples {what} are too few for {each.ranks.count} processes; give more, or start"
                " fewer processes"
            )
    few = validation is None and len(training) < FEW_EXAMPLES
    return SplitData(training, chosen_by, training.followed_by(chosen_by) if few else training)


@contextlib.contextmanager
def progress_folder(folder: Path, request: str, resume: bool, ranks: Ranks = ALONE) -> Iterator[Path]:
    """A folder for what an interrupted run goes on from; it goes away when the run ends, but for an interruption.

    Args:
        request: everything that the result depends on; a run can only be resumed for the same request.
        ranks: of which the first alone touches the folder.
    """
    folder, named = here(folder), folder
    progress = folder / PROGRESS_FOLDER
    ranks.first(lambda: _begin(progress, named, request, resume))
    try:
        yield progress
    except MpqOnnxError:
        # Bad input stays bad: there is nothing to resume.
        if ranks.is_first:
            shutil.rmtree(progress, ignore_errors=True)
        raise
    if ranks.is_first:
        shutil.rmtree(progress, ignore_errors=True)


def _begin(progress: Path, named: Path, request: str, resume: bool) -> None:
    """Make the folder, or go on in the one that there is.

    Args:
        named: what messages call the folder that it is made in.
    """
    stated = progress / "request.json"
    if resume and not stated.is_file():
        begin(f"nothing to go on with in {named}: starting anew")
    if resume:
        state_request(
            stated,
            request,
            f"--resume: {named} holds an interrupted run of another request (other: {{differs}}); leave out --resume",
        )
    try:
        if not resume and progress.exists():
            shutil.rmtree(progress)
        progress.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write into {named}: {error.strerror}; choose another folder") from error
    write_text(stated, request)


def publish(results: Path, folder: Path) -> None:
    """Move finished files into place: all are whole before the first one moves."""
    folder, named = here(folder), folder
    try:
        files = [path for path in sorted(results.rglob("*")) if path.is_file()]
        # Weights before the models that name them.
        for path in sorted(files, key=lambda file: file.suffix != DATA_SUFFIX):
            target = folder / path.relative_to(results)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        for path in files:
            remove_stale_data(folder / path.relative_to(results), {file.name for file in files})
    except OSError as error:
        raise OutputError(f"cannot write into {named}: {error.strerror}; choose another folder") from error


def receive(files: Mapping[str, bytes], folder: Path) -> None:
    """Put what was made elsewhere into place, in the stead of what an interrupted run has left there.

    Args:
        files: contents by their paths in the folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    arrived = folder / PROGRESS_FOLDER
    try:
        for name, content in files.items():
            path = arrived / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}; choose another folder") from error
    publish(arrived, folder)
    shutil.rmtree(arrived, ignore_errors=True)


def training_log(path: Path, ranks: Ranks) -> logging.Logger:
    """A logger of this run alone that writes a line per epoch to `path`, on the first rank."""
    log = logging.Logger("mpq_onnx.training", logging.INFO)
    if not ranks.is_first:
        log.addHandler(logging.NullHandler())
        return log
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    return log
