"""How long commands take that do next to nothing: the start of Python and the imports, in processes of their own.

    python benchmarks/start_times.py        # half a minute

Printed are medians of nine runs: wall-clock seconds, and CPU seconds of the process, which other work moves less.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from resnet20 import TEST, exported
from tabulate import tabulate

RUNS = 9
COMMAND = Path(sys.executable).with_name("mpq-onnx")


def measured(arguments: list[str], folder: str) -> tuple[float, float]:
    """(wall-clock seconds, CPU seconds) of one run."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([COMMAND, *arguments], check=True, capture_output=True, cwd=folder)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, used


def main() -> None:
    model = str(exported().resolve())
    commands = {
        "--help": (["--help"], 0.2),
        "card (ResNet-20)": (["card", model], 1.0),
        "evaluate (100 images of CIFAR-10)": (["evaluate", model, "--data", f"{TEST}?count=100"], 1.5),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (arguments, asked) in commands.items():
            runs = [measured(arguments, folder) for _ in range(RUNS)]
            rows.append(
                [name, *(f"{statistics.median(each):.2f}" for each in zip(*runs, strict=True)), asked]
            )
    print(tabulate(rows, ["command", "seconds", "CPU s", "asked"], disable_numparse=True))


if __name__ == "__main__":
    main()
