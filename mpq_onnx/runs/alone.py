"""One run at a time in a folder: two that wrote into it together would leave files of both, or none."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from mpq_onnx.errors import OutputError, UsageError
from mpq_onnx.files import here
from mpq_onnx.ranks import ALONE, Ranks
from mpq_onnx.runs.earlier_results import check_stays

P = ParamSpec("P")
R = TypeVar("R")
LOCK_FILE = ".mpq-onnx.lock"
"""The system lets go of it when a process ends, however it ends."""


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made where it is not there, and then goes away again where nothing was put into it.

    Raises:
        UsageError: another process holds it.
        OutputError: it cannot be written into.
    """
    from filelock import FileLock, Timeout  # of commands that fill a folder alone

    place, named = here(folder), folder
    path = place / LOCK_FILE
    lock = FileLock(path, timeout=0)
    is_ours = not place.exists()
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"{named}: another run is at work there; wait for its end, or choose another folder"
        ) from error
    except NotImplementedError:  # a file system without locks: nothing can be held
        pass
    except OSError as error:
        raise OutputError(f"cannot write into {named}: {error.strerror}; choose another folder") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
        if is_ours:
            with contextlib.suppress(OSError):
                place.rmdir()  # only if it is empty


def alone_in_output(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which holds the folder that its argument `output` names; of several `ranks`, the first holds it.

    Its `model` is not to be among the results that `overwrite` takes away there.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        given = inspect.signature(function).bind(*arguments, **named).arguments
        ranks: Ranks = given.get("ranks", ALONE)
        folder = Path(given["output"])
        if given.get("overwrite"):
            check_stays(folder, given.get("model"))
        with contextlib.ExitStack() as held:
            ranks.first(lambda: held.enter_context(alone_in(folder)))
            return function(*arguments, **named)

    return call
