"""What more processes give: a sweep of ResNet-20 in one process and on local workers, and then allocations by two processes
that share the data (scale_out_ranks.py), each side by side with one process.

python benchmarks/scale_out.py                     # 12 runs, 2 workers: some minutes on two cores; 20 more for allocations
python benchmarks/scale_out.py --runs 60 --workers 2 4 8
"""

import argparse
import itertools
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet20 import OUTPUT, TRAIN, exported
from tabulate import tabulate

FOLDER = OUTPUT / "scale_out"
OPTIONS = {"data": f"{TRAIN}?count=128", "activation-bits": 8, "effort": "quick"}
WEIGHT_BITS = [2.5 + 0.1 * step for step in range(36)]
METHODS = ["uniform", "water-filling"]


@dataclass(frozen=True)
class Row:
    """One way to do the same work."""

    work: str
    workers: int
    seconds: float
    cpu_seconds: float
    """Of all processes together."""
    same: bool
    """As one process does it."""


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
    """A sweep in one process, and with so many local workers."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    model, config = exported(), FOLDER / "sweep.json"
    lists = {"weight-bits": WEIGHT_BITS[: -(-runs // len(METHODS))], "method": METHODS}
    config.write_text(json.dumps({**OPTIONS, **lists}))
    for count in (0, *workers):
        folder = FOLDER / f"sweep-{count}"
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "mpq_onnx", "sweep", model, "--config", config, "-o", folder]
        seconds, cpu = timed([*command, "--jobs", count or 1])
        yield Row(f"sweep of {runs} runs", count, seconds, cpu, same(FOLDER / "sweep-0", folder))


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
            found.append(
                (
                    work, row.workers or "in one process", f"{row.seconds:.0f}", f"{row.cpu_seconds:.0f}", f"{speed:.2f}",
                    f"{100 * first.cpu_seconds / row.cpu_seconds:.0f} %", "yes" if row.same else "no",
                )
            )  # fmt: skip
    headers = ("work", "workers", "s", "CPU s", "speed", "CPU s of one / CPU s", "same files")
    return tabulate(found, headers, colalign=("left", "left", *["right"] * 4, "left"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="each 2 or more")
    asked = parser.parse_args()
    print(table(list(sweep_rows(asked.runs, asked.workers))), flush=True)
    subprocess.run([sys.executable, Path(__file__).with_name("scale_out_ranks.py")], check=True)


if __name__ == "__main__":
    main()
