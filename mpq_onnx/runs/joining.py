"""The processes that torchrun started, joined by torch.distributed: gloo between CPUs, NCCL between GPUs.

One that ends before the others takes them all along. What ended it stands in a store that all of them see, and is said once
on every machine.
"""

import contextlib
import datetime
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, TypeVar

import mpq_onnx
from mpq_onnx.errors import LostRankError, MpqOnnxError, UsageError, one_line
from mpq_onnx.progress import quiet
from mpq_onnx.ranks import ALONE, Array, Ranks

T = TypeVar("T")
R = TypeVar("R")

RANK, SIZE, ADDRESS, PORT = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
LOCAL_RANK, LOCAL_SIZE, NODE = "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
HOW = "start with torchrun (docs/scale.md)"
OVER_PROCESSES = ("allocate",)
"""Commands that ranks work on together."""
JOIN_TIME = datetime.timedelta(minutes=5)
WAIT_TIME = datetime.timedelta(days=7)
"""For a rank that works alone meanwhile; the connections of one that is gone are closed at once."""
SPEAKING_TIME = 5.0
"""Seconds."""
FAILURE, SAID = "failure", "said"
"""Keys of the store: what ended a rank, and whether it was said."""
COMPARED = ("torch", "numpy", "onnx", "scipy")
"""Packages beside ours that decide over results."""
GOES_ON = "what is done is kept: the same with --resume goes on"
CPU_AND_GPU, CPU = "cpu:gloo,cuda:nccl", "gloo"
"""Backends."""


def several_wanted(environment: Mapping[str, str]) -> bool:
    """A launcher started this process as one of several."""
    return environment.get(SIZE, "1") != "1" or environment.get(RANK, "0") != "0"


def is_spokesman(environment: Mapping[str, str]) -> bool:
    """Of processes that all find the same wrong before they have joined, the one that says it."""
    return environment.get(RANK, "0") == "0"


def leave_word_to_another() -> None:
    """Wait until the launcher ends this process along with the one that says why: it would end that one along with this."""
    time.sleep(SPEAKING_TIME)


def check_command(command: str, environment: Mapping[str, str]) -> None:
    """Raise UsageError where several processes were started on what one does alone."""
    if command not in OVER_PROCESSES and several_wanted(environment):
        raise UsageError(
            f"{command}: runs in one process, and {environment.get(SIZE, 'several')} were started;"
            f" of all commands {', '.join(OVER_PROCESSES)} runs over processes (docs/scale.md)"
        )


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks of this process, by what torchrun says in the environment; alone where it says nothing.

    Raises:
        UsageError: an environment that is not whole, or processes of other versions.
        LostRankError: another process is gone.
        SystemExit: this process ends because of what another one says.
    """
    if not several_wanted(os.environ):
        yield ALONE
        return
    rank, size = _places()
    with quiet() if rank else contextlib.nullcontext():
        ranks = _join(rank, size)
        try:
            with _ended_by_launcher(ranks):
                ranks.check_versions()
                yield ranks
        except Exception as error:
            if not ranks.has_to_say(error):
                leave_word_to_another()
                raise SystemExit(getattr(error, "exit_code", 1)) from None
            raise
        finally:
            ranks.leave()


class JoinedRanks(Ranks):
    """Those of a process group."""

    def __init__(self, rank: int, count: int, store: Any, backend: str) -> None:
        """Args: store: a torch.distributed.Store that all ranks see."""
        self.rank, self.count, self.store, self.backend = rank, count, store, backend

    def gather(self, item: T) -> list[T]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        with self._together():
            dist.all_gather_object(found, item)
        return found

    def at_first(self, made: Iterable[T], total: int, use: Callable[[Iterator[T]], R]) -> R:
        import torch.distributed as dist

        passing = self._passing(iter(made), total)
        found: list[Any] = [None]
        if self.is_first:
            found = [use(passing)]
        for _ in passing:  # the others' work; and what `use` has left
            pass
        with self._together():
            dist.broadcast_object_list(found, src=0)
        return found[0]  # type: ignore[no-any-return]

    def _passing(self, made: Iterator[T], total: int) -> Iterator[T]:
        """Every rank's items in turn on the first, to which the others send theirs."""
        import torch.distributed as dist

        for start in range(0, total, self.count):
            here = min(self.count, total - start)
            own = next(made) if self.rank < here else None
            found: list[Any] | None = [None] * self.count if self.is_first else None
            with self._together():
                dist.gather_object(own, found, dst=0)
            yield from () if found is None else found[:here]

    def sum(self, array: Array) -> Array:
        import numpy as np
        import torch
        import torch.distributed as dist

        given = torch.from_numpy(array) if isinstance(array, np.ndarray) else array.detach()
        total = (given if self.backend == CPU_AND_GPU else given.cpu()).clone()
        with self._together():
            dist.all_reduce(total)
        return total.numpy() if isinstance(array, np.ndarray) else total.to(array.device)

    def check_versions(self) -> None:
        """Raise UsageError where ranks run other versions, which may come to other numbers."""
        own = {
            "mpq-onnx": mpq_onnx.__version__,
            "Python": ".".join(platform.python_version_tuple()[:2]),
            **{name: version(name) for name in COMPARED},
        }
        found = self.gather(own)
        for rank, each in enumerate(found):
            for name in own:
                if each[name] != found[0][name]:
                    raise UsageError(
                        f"rank {rank} runs {name} {each[name]}, rank 0 {found[0][name]}: install the same everywhere"
                    )

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """What torch raises inside means that another rank is gone."""
        try:
            yield
        except RuntimeError as error:
            raise self.loss(f"another process of this allocation is gone; {GOES_ON}") from error

    def loss(self, reason: str) -> Exception:
        """What ended another rank: bad input that it told of, or `reason`."""
        with contextlib.suppress(Exception):  # the store may be gone as well
            if self.store.check([FAILURE]):
                return _SaidElsewhereError(**json.loads(self.store.get(FAILURE)))
        return LostRankError(reason)

    def has_to_say(self, error: Exception) -> bool:
        """Leave word of what ends this rank; whether it is this rank that says it."""
        with contextlib.suppress(Exception):
            if isinstance(error, MpqOnnxError) and not isinstance(error, _SaidElsewhereError):
                self.store.set(FAILURE, json.dumps({"message": str(error), "exit_code": error.exit_code}))
            return bool(self.store.add(f"{SAID} {os.environ.get(NODE, '')}", 1) == 1)
        return True

    def leave(self) -> None:
        """Close the connections."""
        import torch.distributed as dist

        with contextlib.suppress(Exception):
            dist.destroy_process_group()


class _SaidElsewhereError(MpqOnnxError):
    """Bad input that another rank found."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextlib.contextmanager
def _ended_by_launcher(ranks: JoinedRanks) -> Iterator[None]:
    """A launcher ends all where one is gone, by SIGTERM; what is said of it is an error like others."""

    def end(number: int, frame: object) -> None:
        raise ranks.loss(f"ended from outside, as is done where another process is gone; {GOES_ON}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _places() -> tuple[int, int]:
    """(rank, how many) as the environment says."""
    given = {name: os.environ.get(name, "") for name in (RANK, SIZE, ADDRESS, PORT)}
    missing = [name for name, value in given.items() if not value]
    known = next(name for name in (RANK, SIZE) if given[name])
    if missing:
        raise UsageError(
            f"the environment has {known} and no {', '.join(missing)}: {HOW}, or unset {known} to run in one process"
        )
    for name in (RANK, SIZE, PORT):
        if not given[name].isdecimal():
            raise UsageError(f"the environment has {name}={given[name]}, which is no number: {HOW}")
    rank, size = int(given[RANK]), int(given[SIZE])
    if rank >= size:
        raise UsageError(f"the environment has {RANK}={rank} of {SIZE}={size}, and ranks count from 0: {HOW}")
    return rank, size


def _join(rank: int, size: int) -> JoinedRanks:
    """Raises: UsageError: the others do not come."""
    import torch.distributed as dist

    backend = CPU_AND_GPU if _takes_own_device() else CPU
    try:
        store, rank, size = next(dist.rendezvous("env://", rank, size, timeout=JOIN_TIME))
        group = dist.PrefixStore("group", store)
        dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=WAIT_TIME)
    except (RuntimeError, ValueError) as error:
        at = f"{os.environ[ADDRESS]}:{os.environ[PORT]}"
        raise UsageError(
            f"the {size} processes do not come together at {at}: {one_line(error)}; {HOW}"
        ) from error
    return JoinedRanks(rank, size, dist.PrefixStore("mpq-onnx", store), backend)


def _takes_own_device() -> bool:
    """See that torch and onnxruntime find one GPU, another on each rank of a machine; False where there are not as many."""
    import torch

    local, count = int(os.environ.get(LOCAL_RANK, "0")), int(os.environ.get(LOCAL_SIZE, "1"))
    found = (
        torch.cuda.device_count()
    )  # asks the driver, and starts nothing that would hold on to what is visible now
    if found < max(count, 1):
        return False
    visible = os.environ.get(VISIBLE_DEVICES, ",".join(map(str, range(found)))).split(",")
    os.environ[VISIBLE_DEVICES] = visible[local]
    return True
