"""Files of target onnxruntime-cpu: how much faster than float they run, and how long the cost table says that they run.

ResNet-20, EfficientNet-Lite0, and MobileNetV2 with random weights, one example at a time. Float and quantized file are run in
turn; what counts is the tenth percentile. The table is `mpq-onnx profile --with onnxruntime`, made before on one thread.

    python benchmarks/onnxruntime_target.py          # ten minutes on two idle cores
"""

import time
from pathlib import Path

import numpy as np
import onnxruntime
from hardware_budgets import IMAGENET, LITE0, LITE0_INPUTS
from resnet20 import OUTPUT, TRAIN, exported
from tabulate import tabulate

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs

FOLDER = OUTPUT / "onnxruntime-cpu"
RUNS = 150
QUIET = 0.1
COLUMN = "latency_ms"


def networks() -> dict[str, tuple[Path, str]]:
    """Float file and data spec by name."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lite0, mobile = FOLDER / "lite0.onnx", FOLDER / "mobilenet_v2.onnx"
    if not lite0.is_file():
        mpq_onnx.export(str(LITE0), lite0, preprocess=LITE0_INPUTS)
    if not mobile.is_file():
        mpq_onnx.export("torchvision:mobilenet_v2", mobile)
    images = f"imagefolder:{IMAGENET / 'train'}?classes={IMAGENET / 'classes.txt'}&count=32"
    return {
        "resnet20": (exported(), f"{TRAIN}?count=256"),
        "lite0": (lite0, images),
        "mobilenet_v2": (mobile, "random?count=16"),
    }


def session(path: str | Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def milliseconds(paths: list[str | Path], feeds: dict[str, np.ndarray], threads: int) -> list[float]:
    """Of one example through each file, all run in turn."""
    sessions = [session(path, threads) for path in paths]
    times: list[list[float]] = [[] for _ in paths]
    for _ in range(RUNS):
        for own, each in zip(times, sessions, strict=True):
            start = time.perf_counter()
            each.run(None, feeds)
            own.append(1e3 * (time.perf_counter() - start))
    return [float(np.quantile(own, QUIET)) for own in times]


def main() -> None:
    rows = []
    for name, (model, data) in networks().items():
        table, folder = FOLDER / f"{name}.csv", FOLDER / name
        mpq_onnx.profile(model, table, simulator="onnxruntime")
        options = mpq_onnx.AllocateOptions(
            method="uniform", rounding="nearest", target="onnxruntime-cpu", costs=str(table)
        )
        result = mpq_onnx.allocate(model, data, folder, options=options, overwrite=True)
        loaded = load_model(model)
        dataset = open_dataset(data, model_inputs(loaded), loaded.metadata_props)
        feeds = dataset.read([0]).inputs
        one, two = (milliseconds([model, result.model_path], feeds, threads) for threads in (1, 2))
        promised = result.chosen.resources[COLUMN]
        rows.append(
            [
                name, f"{one[0]:.3g}", f"{one[1]:.3g}", f"{one[0] / one[1]:.2f}", f"{two[0] / two[1]:.2f}",
                f"{promised:.3g}", f"{100 * (promised / one[1] - 1):+.1f} %",
            ]
        )  # fmt: skip
    headers = [
        "network", "float, ms", "target's file, ms", "speed-up", "speed-up, 2 threads", "promised, ms", "off by",
    ]  # fmt: skip
    print(tabulate(rows, headers, disable_numparse=True))


if __name__ == "__main__":
    main()
