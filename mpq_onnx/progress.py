"""How far long work has come, on stderr: a bar a stage on a terminal, a line a stage elsewhere.

Every stage is told here and nowhere else. Lines are log records of the logger `mpq_onnx`, which the command line shows;
callers from Python see them where they set logging up.
"""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

LOGGER = "mpq_onnx"
LINE, TIME = "%(asctime)s %(message)s", "%H:%M:%S"

T = TypeVar("T")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show nothing: of several processes on the same work one shows how far it has come."""
    logger = logging.getLogger(LOGGER)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def _hidden() -> bool | None:
    """Of a bar: True while it is quiet, else as the terminal says."""
    return logging.getLogger(LOGGER).disabled or None


def begin(stage: str) -> None:
    """Say that a stage begins that has no bar."""
    logging.getLogger(LOGGER).info(stage)


def watched(work: Iterable[T], stage: str, total: int | None = None, unit: str = "batch") -> Iterator[T]:
    """The parts of `work`, counted while they are done.

    Args:
        total: how many there are; None where `work` knows, or nobody.
    """
    count = len(work) if total is None and isinstance(work, Sized) else total
    begin(stage if count is None else f"{stage}: {_counted(count, unit)}")
    yield from tqdm(work, stage, count, disable=_hidden(), leave=False, unit=unit)


@contextlib.contextmanager
def counter(stage: str, total: int, unit: str, done: int = 0) -> Iterator[tqdm]:
    """A bar that is moved on by its `update`, and shows a few words by its `set_postfix_str`.

    Args:
        done: of `total`, by an earlier run that this one goes on from.
    """
    begin(f"{stage}: {_counted(total, unit)}" + (f", {done} of them done before" if done else ""))
    with tqdm(total=total, initial=done, desc=stage, disable=_hidden(), leave=False, unit=unit) as bar:
        yield bar


def warn(line: str) -> None:
    """A line on stderr that disturbs no bar, on a terminal or not."""
    if _hidden():
        return
    with tqdm.external_write_mode():
        print(line, file=sys.stderr)


@contextlib.contextmanager
def stage_lines() -> Iterator[None]:
    """Show a line a stage on stderr, unless it is a terminal, where bars show the same."""
    if sys.stderr.isatty():
        yield
        return
    logger = logging.getLogger(LOGGER)
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    handler.setFormatter(logging.Formatter(LINE, TIME))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _counted(count: int, unit: str) -> str:
    plural = "es" if unit.endswith(("ch", "sh", "s")) else "s"
    return f"{count} {unit}{'' if count == 1 else plural}"
