"""`allocate` by two processes that share the data (torchrun) against one: widths, time and memory on real networks.

As in allocate_cost.py: a mean of 4 bits a weight, 8 an activation; 4096 images, and 256. One thread of torch a process. CPU
seconds are those of all processes together with their start; memory is the largest process's. One process on half the
images tells what sharing images can save at most: all of its memory that does not halve with them belongs to any process.
EFFORTS=quick,normal and NETWORKS=resnet20,lite0 pick rows.

    python benchmarks/scale_out_ranks.py            # about 20 CPU minutes
    python benchmarks/scale_out_ranks.py --show
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from allocate_cost import model_and_data
from kept import Kept, measure_and_show
from tabulate import tabulate

import mpq_onnx

OUTPUT = Path(__file__).resolve().parent / "output" / "scale_out_ranks"
COMPARED = ("allocation.json", "calibration.json", "model.onnx")
"""Files of a result that hold no times and no names."""


@dataclass(frozen=True)
class Work:
    """One allocation."""

    network: str
    effort: str
    processes: int
    images: int

    @property
    def folder(self) -> Path:
        """Of its result."""
        return OUTPUT / f"{self.network}-{self.effort}-{self.processes}-{self.images}"


IMAGES = {"resnet20": 4096, "lite0": 256}


def works() -> Iterator[Work]:
    for effort in os.environ.get("EFFORTS", "quick,normal").split(","):
        for network in os.environ.get("NETWORKS", "resnet20,lite0").split(","):
            whole = IMAGES[network]
            yield from (Work(network, effort, *rest) for rest in ((1, whole), (2, whole), (1, whole // 2)))


def allocate(work: Work) -> None:
    """What every process does; leaves what it took beside the result."""
    model, data = model_and_data(work.network)
    data += f"{'&' if '?' in data else '?'}count={work.images}"
    with mpq_onnx.joined_ranks() as ranks:
        mpq_onnx.allocate(
            model, data, work.folder, weight_bits=4, activation_bits=8, ranks=ranks,
            options=mpq_onnx.AllocateOptions(effort=work.effort), overwrite=True,
        )  # fmt: skip
        used = resource.getrusage(resource.RUSAGE_SELF)
        line = {
            "seconds": used.ru_utime + used.ru_stime,
            "gigabytes": used.ru_maxrss * 1024 / 1e9,
        }
        Path(f"{work.folder}.rank{ranks.rank}").write_text(json.dumps(line), encoding="utf-8")


def measure(work: Work) -> list[dict]:
    model_and_data(work.network)  # exporting is not what is measured
    OUTPUT.mkdir(parents=True, exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(work.processes)]
    own = [__file__, "--one", *map(str, astuple(work))]
    command = [sys.executable, *(launcher if work.processes > 1 else []), *own]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wall = time.perf_counter() - start
    lines = [
        json.loads(Path(f"{work.folder}.rank{rank}").read_text(encoding="utf-8"))
        for rank in range(work.processes)
    ]
    return [
        {
            "wall": wall,
            "seconds": sum(each["seconds"] for each in lines),
            "most_seconds": max(each["seconds"] for each in lines),
            "gigabytes": max(each["gigabytes"] for each in lines),
        }
    ]


def widths(folder: Path) -> list[tuple]:
    """Of every node."""
    nodes = json.loads((folder / "allocation.json").read_text(encoding="utf-8"))["nodes"]
    return [(each["node"], each["weight_bits"], each["activation_bits"]) for each in nodes]


def print_ranks_table(kept: Kept) -> None:
    """A row an allocation."""
    rows = []
    for work, lines in kept.by_work.items():
        line, alone = lines[0], replace(work, processes=1)
        same = files = ""
        if work != alone and alone in kept.by_work:
            same = "equal" if widths(work.folder) == widths(alone.folder) else "differ"
            equal = [
                (work.folder / name).read_bytes() == (alone.folder / name).read_bytes() for name in COMPARED
            ]
            files = f"{sum(equal)} of {len(equal)}"
        times = (f"{line[name]:.0f}" for name in ("wall", "seconds", "most_seconds"))
        rows.append(
            [
                work.network,
                work.effort,
                work.images,
                work.processes,
                *times,
                f"{line['gigabytes']:.2f}",
                same,
                files,
            ]
        )
    headers = [
        "network", "effort", "images", "processes", "wall s", "CPU s", "of one process", "GB a process", "widths", "same files",
    ]  # fmt: skip
    print(tabulate(rows, headers, disable_numparse=True))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        network, effort, *counts = sys.argv[2:]
        allocate(Work(network, effort, *map(int, counts)))
    else:
        measure_and_show(__doc__, Kept(OUTPUT / "results.jsonl", Work), works(), measure, print_ranks_table)
