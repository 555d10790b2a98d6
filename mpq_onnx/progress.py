"""How far long work has come, on stderr: a bar a stage on a terminal, a line a stage elsewhere.

Every stage is told here and nowhere else. Lines are log records of the logger `mpq_onnx`, which the command line shows;
callers from Python see them where they set logging up. Its level says how much is told: WARNING (-q) neither lines nor bars,
DEBUG (-v) every detail.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

LOGGER = "mpq_onnx"
LINE, TIME = "%(asctime)s %(message)s", "%H:%M:%S"
SECONDS_SEEN = 2.0
"""Of a stage, before it is said how long the rest takes."""
SECONDS_LEFT = 20.0
"""A stage that ends sooner is not worth a line."""
MINUTE, HOUR = 60, 3600

NOTE = (logging.INFO + logging.WARNING) // 2
"""Level of what a reader should know before the result is there."""

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
    """Of a bar: True where nobody wants it, else as the terminal says."""
    logger = logging.getLogger(LOGGER)
    return logger.disabled or logger.level > logging.INFO or None


def begin(stage: str) -> None:
    """Say that a stage begins that has no bar."""
    logging.getLogger(LOGGER).info(stage)


def note(line: str) -> None:
    """Say what should be known now: it is among the notes of the result too, or holds for the time of the run alone."""
    logging.getLogger(LOGGER).log(NOTE, "NOTE: %s", line)


def detail(line: str) -> None:
    """Say what only -v shows."""
    logging.getLogger(LOGGER).debug(line)


def watched(work: Iterable[T], stage: str, total: int | None = None, unit: str = "batch") -> Iterator[T]:
    """The parts of `work`, counted while they are done.

    Args:
        total: how many there are; None where `work` knows, or nobody.
    """
    count = len(work) if total is None and isinstance(work, Sized) else total
    begin(stage if count is None else f"{stage}: {_counted(count, unit)}")
    pace = _Pace(stage, count)
    with _bar(stage, count, unit) as bar:
        for part in work:
            yield part
            bar.update()
            pace.update()
    pace.finish()


@contextlib.contextmanager
def counter(stage: str, total: int, unit: str, done: int = 0) -> "Iterator[Counter]":
    """A bar that is moved on by its `update`, and shows a few words by its `set_postfix_str`.

    Args:
        done: of `total`, by an earlier run that this one goes on from.
    """
    begin(f"{stage}: {_counted(total, unit)}" + (f", {done} of them done before" if done else ""))
    pace = _Pace(stage, total - done)
    with _bar(stage, total, unit, done) as bar:
        yield Counter(bar, pace)
    pace.finish()


class Counter:
    """How far one stage is."""

    def __init__(self, bar: "tqdm", pace: "_Pace") -> None:
        self._bar, self._pace = bar, pace

    def update(self, parts: int = 1) -> None:
        """So many more are done."""
        self._bar.update(parts)
        self._pace.update(parts)

    def set_postfix_str(self, text: str) -> None:
        """Show `text` behind the bar; with -v on a line of its own."""
        self._bar.set_postfix_str(text)
        detail(text)


class _Pace:
    """Tells, once, how long the rest of a stage takes, by the time that its first parts took; with -v also how long it took."""

    def __init__(self, stage: str, parts: int | None) -> None:
        self.stage, self.parts, self.done, self.said = stage, parts, 0, parts is None
        self.start = time.monotonic()

    def update(self, parts: int = 1) -> None:
        self.done += parts
        elapsed = time.monotonic() - self.start
        if self.said or self.parts is None or elapsed < SECONDS_SEEN or not self.done:
            return
        self.said = True
        left = elapsed / self.done * (self.parts - self.done)
        if left >= SECONDS_LEFT:
            begin(f"{self.stage}: about {duration(left)} left")

    def finish(self) -> None:
        detail(f"{self.stage}: took {duration(time.monotonic() - self.start)}")


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `2.5 h`."""
    if seconds < MINUTE:
        return f"{seconds:.2g} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"


def warn(line: str) -> None:
    """A line on stderr that disturbs no bar, on a terminal or not."""
    if logging.getLogger(LOGGER).disabled:
        return
    with _undisturbed():
        print(line, file=sys.stderr)


def tell(level: int) -> None:
    """Tell so much from now on: logging.WARNING, INFO or DEBUG."""
    logging.getLogger(LOGGER).setLevel(level)


@contextlib.contextmanager
def stage_lines() -> Iterator[None]:
    """Show a line a stage on stderr, unless it is a terminal, where bars show the same."""
    logger = logging.getLogger(LOGGER)
    handler, level = _Lines(), logger.level
    handler.setFormatter(logging.Formatter(LINE, TIME))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Lines(logging.Handler):
    """Records on stderr; on a terminal those alone that no bar shows."""

    def emit(self, record: logging.LogRecord) -> None:
        told_by_bars = record.levelno <= logging.INFO and sys.stderr.isatty()
        if not told_by_bars or logging.getLogger(LOGGER).level <= logging.DEBUG:
            warn(self.format(record))


def _bar(stage: str, total: int | None, unit: str, done: int = 0) -> "tqdm":
    """A bar, where stderr is a terminal and nobody asked for quiet."""
    from tqdm import tqdm  # slow to load

    if not hasattr(tqdm, "_lock"):
        # Its own is shared with other processes, which none of ours is; a worker that is killed would leave it behind.
        tqdm.set_lock(threading.RLock())
    return tqdm(total=total, initial=done, desc=stage, disable=_hidden(), leave=False, unit=unit)


def _undisturbed() -> contextlib.AbstractContextManager[None]:
    """While it lasts, no bar is drawn."""
    if "tqdm" not in sys.modules:
        return contextlib.nullcontext()
    from tqdm import tqdm

    return tqdm.external_write_mode(file=sys.stderr)


def _counted(count: int, unit: str) -> str:
    plural = "es" if unit.endswith(("ch", "sh", "s")) else "s"
    return f"{count} {unit}{'' if count == 1 else plural}"
