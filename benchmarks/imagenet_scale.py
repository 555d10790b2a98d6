"""All that is measured at ImageNet scale, one script after the other: what an allocation costs, how accurate roundings are, how
fast the files run beside float and onnxruntime's own quantizer's, how accurate other tools' are, and what noise costs.

    make .venv-peers/.ready
    python benchmarks/imagenet_scale.py            # some five hours on two idle cores; every figure is kept as it comes
    python benchmarks/imagenet_scale.py --show     # the tables of what is there
"""

import argparse
import subprocess
import sys
from pathlib import Path

KEPT = ("allocate_cost.py", "rounding_accuracy.py", "file_speed.py", "peers_table.py")
"""Go on where they were; each has --show."""
MEASURED_ANEW = ("noisy_speed.py",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true")
    shows = parser.parse_args().show
    folder = Path(__file__).resolve().parent
    for script in KEPT if shows else (*KEPT, *MEASURED_ANEW):
        print(f"\n{script}", flush=True)
        subprocess.run([sys.executable, str(folder / script), *(["--show"] if shows else [])], check=True)


if __name__ == "__main__":
    main()
