"""A cluster to work on: worker processes of this machine, or a scheduler that runs somewhere."""

import contextlib
import importlib.metadata
import importlib.util
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpq_onnx.errors import ClusterError, UsageError, first_line
from mpq_onnx.progress import begin

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10
START_SECONDS = 120
"""For local workers: a busy machine is slow to start processes."""
SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
LOGGER = "distributed"


@dataclass(frozen=True)
class Workers:
    """How many processes of this machine work, or whose cluster does."""

    jobs: int = 1
    cluster: str | None = None
    """Address of a dask scheduler (tcp://HOST:PORT), or its scheduler file."""

    def __post_init__(self) -> None:
        """Raises:
        UsageError: no process, or both.
        """
        if self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: must be at least 1")
        if self.cluster is not None and self.jobs != 1:
            raise UsageError("--jobs and --cluster: give one of them; a cluster has the workers that it has")

    def at_most(self, jobs: int) -> "Workers":
        """No more processes than there are jobs."""
        return Workers(max(min(self.jobs, jobs), 1), self.cluster)

    @property
    def here_alone(self) -> bool:
        """All is done in this process."""
        return self.cluster is None and self.jobs == 1


@dataclass(frozen=True)
class Opened:
    """A cluster that answers."""

    client: "Client"
    name: str
    """Its address."""
    is_local: bool
    """Its workers are ours, and see the files that the caller sees."""


@contextlib.contextmanager
def opened(workers: Workers) -> Iterator[Opened]:
    """Connect, and leave (or end, where it is ours) the cluster in the end.

    Raises:
        UsageError: dask.distributed is not installed, or no address.
        ClusterError: no scheduler answers there.
    """
    if importlib.util.find_spec("distributed") is None:
        raise UsageError(
            "--jobs and --cluster: need dask.distributed; pip install 'mpq-onnx[cluster]', or pip install distributed"
        )
    # What goes wrong is said in our lines.
    logger, level = logging.getLogger(LOGGER), logging.getLogger(LOGGER).level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with _local(workers.jobs) if workers.cluster is None else _running(workers.cluster) as found:
            link = _dashboard(found)
            begin(f"cluster {found.name}" + (f", dashboard {link}" if link else ""))
            yield found
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _local(jobs: int) -> Iterator[Opened]:
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    settings = {
        # A worker keeps what runs share: it would be paused, and wait for memory that is never given back.
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.target": False,
        "distributed.admin.low-level-log-length": 0,
    }
    with (
        tempfile.TemporaryDirectory(prefix="mpq-onnx-", ignore_cleanup_errors=True) as scratch,
        dask.config.set(settings),
    ):
        try:
            cluster = LocalCluster(
                n_workers=jobs, threads_per_worker=1, processes=True, host="127.0.0.1", local_directory=scratch,
                memory_limit=MEMORY_LIMIT, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL + 1,
            )  # fmt: skip
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(f"--jobs {jobs}: the workers do not start: {first_line(error)}") from error
        with cluster, Client(cluster, timeout=START_SECONDS, set_as_default=False) as client:
            yield Opened(client, f"of {jobs} processes", True)


@contextlib.contextmanager
def _running(given: str) -> Iterator[Opened]:
    from distributed import Client

    address = _address(given)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # of the operating system, of TLS, of another version's protocol
        raise ClusterError(
            f"--cluster {given}: no dask scheduler answers at {address} within {CONNECT_SECONDS} s: {first_line(error)}; start"
            " one with `dask scheduler`, and see that the versions of distributed are the same"
        ) from error
    with client:
        yield Opened(client, address, False)


def _address(given: str) -> str:
    """The scheduler's, from an address or a scheduler file.

    Raises:
        UsageError: neither.
    """
    if given.startswith(SCHEMES):
        _, _, port = given.rpartition(":")
        if not port.rstrip("/").isdigit():
            raise UsageError(f"--cluster {given}: give the port too, such as tcp://HOST:8786")
        return given
    try:
        found: Any = json.loads(Path(given).read_text(encoding="utf-8"))
        return str(found["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"--cluster {given}: neither an address such as tcp://HOST:8786 nor the file of `dask scheduler --scheduler-file`"
        ) from None


def _dashboard(found: Opened) -> str | None:
    """Where there is one: without bokeh the scheduler serves a page that says so."""
    try:
        found.client.run_on_scheduler(importlib.metadata.version, "bokeh")
    except Exception:
        return None
    services = found.client.scheduler_info().get("services", {})
    return found.client.dashboard_link if "dashboard" in services else None
