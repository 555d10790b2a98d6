"""A sweep of 30 runs on ResNet-20 against 30 single commands, side by side: the same allocations, and the ratio of times.

python benchmarks/sweep_speed.py            # about ten minutes on two cores
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from resnet20 import FILES, OUTPUT, TRAIN, exported

FOLDER = OUTPUT / "sweep_speed"
COMMAND = [sys.executable, "-m", "mpq_onnx"]
OPTIONS = {"data": f"{TRAIN}?count=512", "activation-bits": 8, "rounding": "nearest"}
LISTS = {
    "method": ["uniform", "water-filling"],
    "weight-bits": [3, 4, 5, 6, 7],
    "observer": ["mse", "minmax", "percentile"],
}


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    jobs = parser.parse_args().jobs
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    model = str(exported(FILES[0]))
    config = FOLDER / "sweep.json"
    config.write_text(json.dumps({**OPTIONS, **LISTS}))
    runs = [dict(zip(LISTS, values, strict=True)) for values in itertools.product(*LISTS.values())]
    singles = 0.0
    for run in runs:
        options = [str(part) for name, value in {**OPTIONS, **run}.items() for part in (f"--{name}", value)]
        singles += timed([*COMMAND, "allocate", model, *options, "-o", str(FOLDER / "single"), "--overwrite"])
    swept = timed(
        [*COMMAND, "sweep", model, "--config", str(config), "-o", str(FOLDER / "sweep"), "--jobs", str(jobs)]
    )
    same = (FOLDER / "single" / "model.onnx").read_bytes() == last_model(FOLDER / "sweep").read_bytes()
    print(
        f"{len(runs)} single commands {singles:.0f} s, sweep with {jobs} jobs {swept:.0f} s, ratio {swept / singles:.2f}"
    )
    print(f"the last file is the same, byte for byte: {'yes' if same else 'no'}")


def last_model(folder: Path) -> Path:
    return max((folder / "runs").iterdir()) / "model.onnx"


if __name__ == "__main__":
    main()
