"""What more processes give: a sweep of ResNet-20 in one process, on local workers, and on three of which one is killed and
another one joins in the middle; then allocations by two processes that share the data (scale_out_ranks.py). Each side by
side with one process.

python benchmarks/scale_out.py                     # 60 runs: half an hour on two cores, and 20 minutes for allocations
python benchmarks/scale_out.py --runs 200 --workers 4 8
"""

import argparse
import contextlib
import itertools
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet20 import OUTPUT, TRAIN, exported
from tabulate import tabulate

from mpq_onnx.runs.sweeping import RUN_FILE

FOLDER = OUTPUT / "scale_out"
OPTIONS = {"data": f"{TRAIN}?count=128", "activation-bits": 8, "effort": "quick"}
WEIGHT_BITS = [2.5 + 0.1 * step for step in range(36)]
METHODS = ["uniform", "water-filling"]


@dataclass(frozen=True)
class Row:
    """One way to do the same work."""

    work: str
    workers: str
    seconds: float
    cpu_seconds: float
    """Of all processes together but those of a cluster that runs."""
    same: bool
    """As one process does it."""


ALONE, CHANGING = "in one process", "3, one killed, one joined"


def timed(command: Sequence[object]) -> tuple[float, float]:
    """(wall, CPU) seconds of a command, with those of all its processes that it has waited for."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, spent


def sweep_rows(runs: int, workers: Sequence[int]) -> Iterator[Row]:
    """A sweep in one process, with so many local workers, and with three of which one is killed and one joins."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    config = FOLDER / "sweep.json"
    lists = {"weight-bits": WEIGHT_BITS[: -(-runs // len(METHODS))], "method": METHODS}
    config.write_text(json.dumps({**OPTIONS, **lists}))
    command = [sys.executable, "-m", "mpq_onnx", "sweep", exported(), "--config", config, "-o"]

    def row(workers: str, *options: object) -> Row:
        folder = FOLDER / workers
        shutil.rmtree(folder, ignore_errors=True)
        spent = timed([*command, folder, *options])
        return Row(f"sweep of {runs} runs", workers, *spent, same(FOLDER / ALONE, folder))

    yield row(ALONE)
    for count in workers:
        yield row(str(count), "--jobs", count)
    with changing_cluster(FOLDER / CHANGING, runs) as scheduler:
        yield row(CHANGING, "--cluster", scheduler)


@contextlib.contextmanager
def changing_cluster(folder: Path, runs: int) -> Iterator[Path]:
    """The scheduler's file of three workers: one is killed after a third of the runs, another one joins after half of them."""
    scheduler_file = FOLDER / "cluster.json"
    scheduler_file.unlink(missing_ok=True)
    with contextlib.ExitStack() as processes:

        def start(*command: str) -> subprocess.Popen:
            dask = [sys.executable, "-m", "dask", *command, "--scheduler-file", str(scheduler_file)]
            process = subprocess.Popen(dask, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            processes.callback(process.kill)  # a worker that has lost its scheduler waits for another one
            return process

        def worker() -> subprocess.Popen:
            return start(
                "worker", "--nthreads", "1", "--no-nanny", "--local-directory", str(FOLDER / "workers")
            )

        def change() -> None:
            wait_for(folder, runs // 3)
            first.kill()
            wait_for(folder, runs // 2)
            worker()

        start("scheduler", "--port", "0", "--no-dashboard")
        first, *_ = [worker() for _ in range(3)]
        changer = threading.Thread(target=change, daemon=True)
        changer.start()
        yield scheduler_file
        if changer.is_alive():
            sys.exit("the sweep ended before a worker was killed and another one joined")


def wait_for(folder: Path, count: int) -> None:
    """Until so many runs are done."""
    while len(list(folder.glob(f"runs/*/{RUN_FILE}"))) < count:
        time.sleep(0.1)


def same(one: Path, other: Path) -> bool:
    """Rows and models are equal, byte for byte."""
    names = ["results.csv", *(path.relative_to(one) for path in one.glob("runs/*/model.onnx"))]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def table(rows: Sequence[Row]) -> str:
    """Speed and efficiency beside one process of the same work."""
    found = []
    for work, group in itertools.groupby(rows, lambda row: row.work):
        first, *others = group
        for row in (first, *others):
            speed = first.seconds / row.seconds
            own = row.cpu_seconds if row.workers != CHANGING else None
            efficiency = "" if own is None else f"{100 * first.cpu_seconds / own:.0f} %"
            found.append(
                (
                    work, row.workers, f"{row.seconds:.0f}", "" if own is None else f"{own:.0f}", f"{speed:.2f}", efficiency,
                    "yes" if row.same else "no",
                )
            )  # fmt: skip
    headers = ("work", "workers", "s", "CPU s", "speed", "CPU s of one / CPU s", "same files")
    return tabulate(found, headers, colalign=("left", "left", *["right"] * 4, "left"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 3], help="each 2 or more")
    asked = parser.parse_args()
    print(table(list(sweep_rows(asked.runs, asked.workers))), flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name("scale_out_ranks.py")], check=True)


if __name__ == "__main__":
    main()
