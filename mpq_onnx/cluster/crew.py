"""Jobs spread over the workers of a cluster: one at a time each, on workers that are fit for it, again where a worker is lost.

dask places nothing here but carries what is submitted, tells who is there, and brings results back: a worker first has to be
looked at, and may need files, before it gets its first job.
"""

import asyncio
import contextlib
import functools
import statistics
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as Pending
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpq_onnx.cluster.opening import Opened, Workers, opened
from mpq_onnx.cluster.parcels import Parcel
from mpq_onnx.cluster.versions import difference
from mpq_onnx.errors import ClusterError, first_line
from mpq_onnx.progress import begin, warn

if TYPE_CHECKING:
    from distributed import Future

    from mpq_onnx.cluster.workshop import Done

LOOK_SECONDS = 0.5
"""Between looks at who is there."""
WORKERLESS_SECONDS = 600
"""How long a cluster may have no worker; batch systems take their time."""
FETCH_SECONDS = 5.0
"""For what a worker has made to arrive, before it is looked whether the worker is there."""
LOSSES = 3
"""Workers that one job may cost."""
SLOW = 4.0
"""Times the median of the jobs before: a job that takes longer is begun once more, where a worker has nothing else to do."""
COMPARED = 3
"""Jobs that are done before any is called slow."""
LOOKS_AT_ONCE = 8
TRIES = 3
"""At looking at a worker that does not answer."""


class LostError(Exception):
    """A job whose worker was lost every time."""

    def __init__(self) -> None:
        super().__init__(
            f"its worker was lost {LOSSES} times: killed, out of memory, or gone; give workers more memory, or the run less"
        )


@dataclass(frozen=True)
class Job:
    """One piece of work."""

    name: str
    """In lines on the screen."""
    folder: str
    """What it calls the folder that it writes into."""
    arguments: tuple[Any, ...]
    like: str = ""
    """The same for jobs that make the same things first, which one of them can do for all."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: what it returned and the files that it wrote, or why it did not end."""

    job: Job
    value: Any = None
    files: dict[str, bytes] = field(default_factory=dict)
    error: Exception | None = None


def _nothing_wrong() -> None:
    return None


@dataclass(frozen=True)
class Kit:
    """What a worker needs before it can do a job."""

    task: Callable[..., Any]
    """task(memory, *arguments)."""
    remember: Callable[[], Any]
    """Makes the memory, what jobs of one worker share."""
    parcels: tuple[Parcel, ...] = ()
    check: Callable[[], str | None] = _nothing_wrong
    """Says what keeps a worker that has the files from doing the work."""


@dataclass
class _Running:
    job: Job
    worker: str
    future: "Future"
    since: float


class Crew:
    """The workers of one cluster for one kind of work."""

    def __init__(self, cluster: Opened, kit: Kit, looking: ThreadPoolExecutor) -> None:
        self.cluster, self.client, self.kit, self._looking = cluster, cluster.client, kit, looking
        self.session = f"mpq-onnx-{uuid.uuid4().hex}"
        self._fit: set[str] = set()
        self._refused: dict[str, str] = {}
        self._looked_at: dict[str, Pending[str | None]] = {}
        self._seen = time.monotonic()
        self._seconds: list[float] = []
        self._told: dict[str, bytes] = {}
        self._made: set[str] = set()
        """What jobs have in common (Job.like) and one of them has done."""

    @property
    def size(self) -> int:
        """Workers that can be given jobs now; waits for the first.

        Raises:
            ClusterError: none can be had.
        """
        while not self._look():
            time.sleep(LOOK_SECONDS)
        return len(self._fit)

    def do(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes in the order in which they come, one for every job.

        Raises:
            ClusterError: no worker can do them, or the scheduler is gone.
        """
        waiting, running = deque(jobs), list[_Running]()
        losses = dict.fromkeys((job.name for job in jobs), 0)
        try:
            while waiting or running:
                fit = self._look()
                for each in [each for each in running if each.worker not in fit]:
                    self._drop(running, each)
                    if any(other.job is each.job for other in running):
                        continue
                    losses[each.job.name] += 1
                    if losses[each.job.name] >= LOSSES:
                        yield Outcome(each.job, error=LostError())
                    else:
                        begin(f"{each.job.name} goes elsewhere: its worker {each.worker} is lost")
                        waiting.appendleft(each.job)
                self._hand_out(waiting, running)
                for each in self._ended(running):
                    if each not in running:  # another worker was quicker in the same look
                        continue
                    outcome = self._outcome(each)
                    if outcome is None:
                        self._drop(running, each)
                        if not any(other.job is each.job for other in running):
                            waiting.appendleft(each.job)
                        continue
                    for same in [other for other in running if other.job is each.job]:
                        self._drop(running, same)
                    yield outcome
        finally:
            for each in list(running):
                self._drop(running, each)

    def _hand_out(self, waiting: deque[Job], running: list[_Running]) -> None:
        """A job for every worker that has none; where none waits, a second try at the slowest."""
        for worker in sorted(self._fit - {each.worker for each in running}):
            job = self._next(waiting, running) if waiting else self._slow_one(running)
            if job is None:
                return
            from mpq_onnx.cluster import workshop

            future = self.client.submit(
                workshop.work, self.session, self.kit.task, job.folder, job.arguments,
                workers=[worker], allow_other_workers=False, pure=False, key=f"{job.name}-{uuid.uuid4().hex}",
            )  # fmt: skip
            running.append(_Running(job, worker, future, time.monotonic()))

    def _next(self, waiting: deque[Job], running: list[_Running]) -> Job:
        """The first that does not begin with what another is just making, or else the first."""
        making = {each.job.like for each in running} - self._made
        job = next((each for each in waiting if each.like not in making), waiting[0])
        waiting.remove(job)
        return job

    def _slow_one(self, running: list[_Running]) -> Job | None:
        if len(self._seconds) < COMPARED:
            return None
        most = SLOW * statistics.median(self._seconds)
        names = [each.job.name for each in running]
        late = [each for each in running if time.monotonic() - each.since > most]
        job = next((each.job for each in late if names.count(each.job.name) == 1), None)
        if job is not None:
            begin(f"{job.name} takes long: begun once more elsewhere")
        return job

    def _ended(self, running: list[_Running]) -> list[_Running]:
        """Those whose work is over, after a short wait."""
        from distributed import wait

        if not running:
            time.sleep(LOOK_SECONDS)
            return []
        # Cancelled are they where the scheduler is gone: the next look says so.
        over = (TimeoutError, asyncio.TimeoutError, CancelledError)
        with self.client.as_current(), contextlib.suppress(*over):
            wait([each.future for each in running], timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
        return [each for each in running if each.future.status != "pending"]

    def _outcome(self, ended: _Running) -> Outcome | None:
        """None where the job has to be done again: its worker knew nothing, or dask lost it."""
        from distributed import KilledWorker

        from mpq_onnx.cluster.workshop import NotReadyError

        status = ended.future.status
        if status == "finished":
            done = self._fetched(ended)
            if done is None:
                return None
            self._seconds.append(time.monotonic() - ended.since)
            self._made.add(ended.job.like)
            self._tell(done.told, ended.worker)
            return Outcome(ended.job, done.value, done.files)
        if status != "error":
            return None
        error = ended.future.exception()
        if isinstance(error, NotReadyError):
            self._forget(ended.worker)
            return None
        if isinstance(error, KilledWorker):
            error = LostError()
        return Outcome(ended.job, error=error if isinstance(error, Exception) else ClusterError(repr(error)))

    def _fetched(self, ended: _Running) -> "Done | None":
        """What a worker has made; None where it went with that: dask would wait for it to make it again."""
        patience = FETCH_SECONDS
        while patience < WORKERLESS_SECONDS:
            try:
                return ended.future.result(timeout=patience)  # type: ignore[no-any-return]
            except (TimeoutError, asyncio.TimeoutError):
                if ended.worker not in self._look():
                    return None
                patience *= 2  # what is large begins anew
            except Exception:
                return None
        return None

    def _tell(self, told: dict[str, bytes], maker: str) -> None:
        """The other workers, now and those who join later."""
        self._told.update(told)
        others = sorted(self._fit - {maker})
        if told and others:
            from mpq_onnx.cluster import workshop

            with contextlib.suppress(Exception):  # of one that leaves; it would have made it again
                self.client.run(workshop.learn, self.session, told, workers=others, on_error="ignore")

    def _drop(self, running: list[_Running], each: _Running) -> None:
        """Let go of what is running, wherever it is."""
        running.remove(each)
        with contextlib.suppress(Exception):
            each.future.cancel()

    def _look(self) -> set[str]:
        """Who is there and fit; those who have joined are looked at meanwhile.

        Raises:
            ClusterError: see do.
        """
        try:
            present = set(self.client.nthreads())
        except Exception as error:
            raise ClusterError(
                f"cluster {self.cluster.name}: the scheduler is gone: {first_line(error)}; what is finished is kept, the same"
                " command goes on"
            ) from error
        for worker in (self._fit | self._looked_at.keys() | self._refused.keys()) - present:
            self._forget(worker)
        for worker in present - self._looked_at.keys():
            self._looked_at[worker] = self._looking.submit(self._prepare, worker)
        for worker, pending in self._looked_at.items():
            if pending.done() and worker not in self._fit and worker not in self._refused:
                self._judge(worker, pending.result())
        if self._fit:
            self._seen = time.monotonic()
        elif present and present == self._refused.keys():
            worker, reason = next(iter(self._refused.items()))
            raise ClusterError(f"cluster {self.cluster.name}: no worker can do this: {worker} has {reason}")
        elif time.monotonic() - self._seen > WORKERLESS_SECONDS:
            raise ClusterError(
                f"cluster {self.cluster.name}: no worker for {WORKERLESS_SECONDS} s; start some with `dask worker`, the same"
                " command goes on"
            )
        return set(self._fit)

    def _judge(self, worker: str, reason: str | None) -> None:
        if reason is None:
            self._fit.add(worker)
            return
        self._refused[worker] = reason
        warn(f"worker {worker} is not used: it has {reason}")

    def _forget(self, worker: str) -> None:
        self._fit.discard(worker)
        self._refused.pop(worker, None)
        self._looked_at.pop(worker, None)

    def _prepare(self, worker: str) -> str | None:
        """Look at a worker and give it the files that it lacks; what it has that it should not, or None."""
        for _ in range(TRIES):
            try:
                return self._prepared(worker)
            except Exception as error:  # it left, or is too busy to answer
                reason = first_line(error)
        return f"not answered: {reason}"

    def _prepared(self, worker: str) -> str | None:
        ask = functools.partial(self._ask, worker)
        differing = None if self.cluster.is_local else difference(ask)
        if differing is not None:
            return differing
        from mpq_onnx.cluster import workshop

        own = workshop.Workshop(self.kit.parcels, self.kit.remember, self.cluster.is_local)
        lacking = ask(workshop.enter, self.session, own)
        for parcel in (each for each in self.kit.parcels if each.digest in lacking):
            begin(f"{parcel.name} goes to {worker}")
            for number, piece in enumerate(parcel.pieces()):
                ask(workshop.take, self.session, parcel.digest, piece, not number)
            ask(workshop.complete, self.session, parcel.digest)
        ask(workshop.learn, self.session, dict(self._told))
        return ask(workshop.check, self.session, self.kit.check)  # type: ignore[no-any-return]

    def _ask(self, worker: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.client.run(function, *arguments, workers=[worker])[worker]

    def leave(self) -> None:
        """Take what is ours away from the workers."""
        from mpq_onnx.cluster import workshop

        for worker in self._fit:
            with contextlib.suppress(Exception):
                self._ask(worker, workshop.leave, self.session)


@contextlib.contextmanager
def crew(workers: Workers, make_kit: Callable[[bool], Kit]) -> Iterator[Crew]:
    """The workers of a cluster, for one kind of work.

    Args:
        make_kit: is told whether the workers see the files that the caller sees.

    Raises:
        UsageError, ClusterError: see opened.
    """
    with opened(workers) as cluster:
        looking = ThreadPoolExecutor(LOOKS_AT_ONCE)
        found = Crew(cluster, make_kit(cluster.is_local), looking)
        try:
            yield found
        finally:
            looking.shutdown(wait=False, cancel_futures=True)
            if not cluster.is_local:
                found.leave()
