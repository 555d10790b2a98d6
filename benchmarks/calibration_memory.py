"""Peak memory of calibration by the number of batches, each in a process of its own: it must not grow.

python benchmarks/calibration_memory.py
"""

import resource
import subprocess
import sys

from resnet20 import OUTPUT, TRAIN, exported

import mpq_onnx

COUNTS = (256, 1024, 4096)
OBSERVERS = ("minmax", "ema", "percentile", "mse")


def peak_megabytes(observer: str, count: int) -> float:
    """Of a fresh process that calibrates on `count` images."""
    return float(subprocess.check_output([sys.executable, __file__, observer, str(count)], text=True))


def main() -> None:
    if len(sys.argv) == 3:
        observer, count = sys.argv[1:]
        mpq_onnx.calibrate(
            exported(), f"{TRAIN}?count={count}", OUTPUT / "memory.json", observer=observer, device="cpu"
        )
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    exported()
    for observer in OBSERVERS:
        peaks = [peak_megabytes(observer, count) for count in COUNTS]
        text = ", ".join(f"{count} images {peak:.0f} MB" for count, peak in zip(COUNTS, peaks, strict=True))
        print(f"{observer:10s} {text}", flush=True)


if __name__ == "__main__":
    main()
