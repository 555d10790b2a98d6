"""CPU seconds and peak memory of `allocate` by default options, at ImageNet scale: a mean of 4 bits a weight, 8 an activation.

ResNet-20 on CIFAR-10 and EfficientNet-Lite0 on ImageNet images have their real weights, ResNet-50 and BERT-base random ones,
which cost the same. Each row is a process of its own; its CPU time is that of all its threads, the start of Python included.
EFFORTS=quick,normal,thorough and NETWORKS=resnet20,lite0 pick rows; the limits are those of the default effort.

    python benchmarks/allocate_cost.py            # about half an hour on two cores
    python benchmarks/allocate_cost.py --show
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kept import Kept, measure_and_show
from resnet20 import TRAIN, exported
from shared_data import SHARED, data_folder
from tabulate import tabulate

import mpq_onnx

OUTPUT = Path(__file__).resolve().parent / "output" / "allocate_cost"
IMAGENET = data_folder("IMAGENET", "imagenet")
LITE0 = SHARED.parent / "models" / "efficientnet_lite0.onnx"
IMAGE_INPUTS = "resize=256&interpolation=bicubic&crop=224&mean=0.49804&std=0.50196"
MINUTE = 60


@dataclass(frozen=True)
class Work:
    """One allocation."""

    network: str
    effort: str


LIMITS = {
    "resnet20": (45, None),
    "lite0": (6 * MINUTE, 3),
    "resnet50": (15 * MINUTE, 5),
    "bert": (10 * MINUTE, 5),
}
"""CPU seconds and GB at the default effort."""


def works() -> Iterator[Work]:
    for effort in os.environ.get("EFFORTS", "normal").split(","):
        for network in os.environ.get("NETWORKS", ",".join(LIMITS)).split(","):
            yield Work(network, effort)


def model_and_data(network: str) -> tuple[Path, str]:
    """The float file, and what it is calibrated on."""
    path = OUTPUT / f"{network}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    images = f"imagefolder:{IMAGENET / 'train'}?classes={IMAGENET / 'classes.txt'}"
    if network == "resnet20":
        return exported(), TRAIN
    if network == "lite0":
        if not path.is_file():
            mpq_onnx.export(str(LITE0), path, preprocess=IMAGE_INPUTS)
        return path, images
    if network == "resnet50":
        if not path.is_file():
            mpq_onnx.export("torchvision:resnet50", path)
        return path, images
    if not path.is_file():
        mpq_onnx.export("transformers:bert", path, sequence_length=128)
    return path, "random?count=256"


def allocate(work: Work) -> None:
    """In a process of its own: print CPU seconds, bytes and what was kept."""
    model, data = model_and_data(work.network)
    result = mpq_onnx.allocate(
        model, data, OUTPUT / f"{work.network}-{work.effort}", weight_bits=4, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort=work.effort), overwrite=True,
    )  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_SELF)
    comparison = result.chosen.evaluation.comparison
    sqnr = comparison.output_sqnr if comparison is not None else None
    line = {
        "seconds": used.ru_utime + used.ru_stime, "gigabytes": used.ru_maxrss * 1024 / 1e9, "kept": result.chosen.name,
        "sqnr": sqnr,
    }  # fmt: skip
    print(json.dumps(line))


def measure(work: Work) -> list[dict]:
    model_and_data(work.network)  # exporting is not what is measured
    command = [sys.executable, __file__, "--one", work.network, work.effort]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(done.stdout.splitlines()[-1])]


def show(kept: Kept) -> None:
    rows = []
    for work, lines in kept.by_work.items():
        line = lines[0]
        limits = LIMITS[work.network] if work.effort == "normal" else ("", "")
        sqnr = "" if line["sqnr"] is None else f"{line['sqnr']:.1f}"
        measured = f"{line['seconds']:.0f}", f"{line['gigabytes']:.1f}"
        rows.append([work.network, work.effort, *measured, *limits, line["kept"], sqnr])
    headers = ["network", "effort", "CPU s", "GB", "asked: CPU s", "GB", "kept", "SQNR, dB"]
    print(tabulate(rows, headers, disable_numparse=True))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        allocate(Work(*sys.argv[2:]))
    else:
        measure_and_show(__doc__, Kept(OUTPUT / "results.jsonl", Work), works(), measure, show)
