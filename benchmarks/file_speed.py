"""How fast files by default options run in onnxruntime, beside float and beside onnxruntime's own quantizer's file.

The networks of the papers (random weights and inputs: they change no time) and EfficientNet-Lite0, at W8A8 and at a mean
of 4 bits a weight. Widths are uniform and weights rounded to nearest: kernels are the same at any width up to 8. Float and
quantized files run in turn, one example at a time unless said; what counts is the median. On one thread it is that of the CPU
time, which a busy machine hardly changes; on two that of the time that passed. The own file is that of
onnxruntime.quantization.quantize_static: QDQ, uint8 activations, int8 weights with a scale a channel. "Float" are the kernels
of the W8A8 file that take floats, by their share of its time.

    python benchmarks/file_speed.py            # a quarter of an hour on two idle cores
    FILE_SPEED=lite0 python benchmarks/file_speed.py
    python benchmarks/file_speed.py --show
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from hardware_budgets import IMAGENET, LITE0, LITE0_INPUTS
from kept import Kept, measure_and_show
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tabulate import tabulate

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs

OUTPUT = Path(__file__).resolve().parent / "output" / "file_speed"
BUDGETS = ("W8A8", "mean 4")
"""Of the quantized files; activations have 8 bits."""
OWN = "onnxruntime's own"
FLOAT = "float"
THREADS = (1, 2)
SECONDS = 3.0
"""Of measuring one network at one number of threads, at most, beyond FEWEST runs."""
FEWEST, MOST = 15, 300
LOOKED_AT = 12
"""Runs with a look at every kernel."""
CALIBRATED = 4
"""Examples that onnxruntime's quantizer sees."""


@dataclass(frozen=True)
class Network:
    """One network, timed on `batch` examples at once."""

    name: str
    source: str
    examples: int = 8
    batch: int = 1


NETWORKS = (
    Network("lite0", str(LITE0), 32),
    Network("mobilenet_v2", "torchvision:mobilenet_v2"),
    Network("shufflenet_v2", "torchvision:shufflenet_v2_x1_0"),
    Network("googlenet", "torchvision:googlenet"),
    Network("resnet50", "torchvision:resnet50"),
    Network("pytorchcv resnet50", "pytorchcv:resnet50"),
    Network("inception_v3", "torchvision:inception_v3"),
    Network("bert", "transformers:bert"),
    Network("dlrm", "dlrm", 64),
    Network("dlrm", "dlrm", 64, batch=64),
)
TOKENS = 128


def files_of(network: Network) -> dict[str, Path]:
    """Those that are compared, made where they are not there yet; float first."""
    folder = OUTPUT / network.name.replace(" ", "_")
    exact, own = folder / "float.onnx", folder / "own.onnx"
    if not exact.is_file():
        inputs = LITE0_INPUTS if network.name == "lite0" else None
        mpq_onnx.export(network.source, exact, preprocess=inputs, sequence_length=TOKENS)
    eight, four = folder / "w8a8" / "model.onnx", folder / "mean4" / "model.onnx"
    if not eight.is_file():
        options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest")
        mpq_onnx.allocate(
            exact,
            data_of(network),
            eight.parent,
            weight_bits=8,
            activation_bits=8,
            options=options,
            overwrite=True,
        )
    if not four.is_file():
        four.parent.mkdir(parents=True, exist_ok=True)
        mpq_onnx.apply(exact, narrowed(eight.parent / "allocation.json", four.parent), four)
    if not own.is_file():
        quantize_static(
            str(exact),
            str(own),
            Examples(feeds_of(network, exact, 1, index) for index in range(CALIBRATED)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return {FLOAT: exact, "W8A8": eight, "mean 4": four, OWN: own}


def narrowed(path: Path, folder: Path) -> Path:
    """The allocation with 4 bits for every weight of the budget: nothing of it is calibrated or measured again."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["settings"]["bias_correction"] = False
    for node in document["nodes"]:
        if node["weight_bits"] is not None and node["weight_counted"]:
            node["weight_bits"] = 4.0
    (folder / "calibration.json").write_bytes((path.parent / "calibration.json").read_bytes())
    edited = folder / "allocation.json"
    edited.write_text(json.dumps(document), encoding="utf-8")
    return edited


class Examples(CalibrationDataReader):
    """What onnxruntime's quantizer reads."""

    def __init__(self, feeds: Iterator[dict[str, np.ndarray]]) -> None:
        self.feeds = feeds

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def data_of(network: Network) -> str:
    if network.name == "lite0":
        return f"imagefolder:{IMAGENET / 'train'}?classes={IMAGENET / 'classes.txt'}&count={network.examples}"
    return f"random?count={network.examples}"


def feeds_of(network: Network, exact: Path, batch: int, first: int = 0) -> dict[str, np.ndarray]:
    model = load_model(exact)
    dataset = open_dataset(data_of(network), model_inputs(model), model.metadata_props)
    return dict(dataset.read([(first + index) % len(dataset) for index in range(batch)]).inputs)


def session(path: Path, threads: int, trace: str | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if trace is not None:
        options.enable_profiling, options.profile_file_prefix = True, trace
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def milliseconds(files: dict[str, Path], feeds: dict[str, np.ndarray], threads: int) -> dict[str, float]:
    """Medians over runs in turn."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    sessions = {name: session(path, threads) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for each in sessions.values():
        each.run(None, feeds)
    end = time.perf_counter() + SECONDS
    while len(times[FLOAT]) < FEWEST or (time.perf_counter() < end and len(times[FLOAT]) < MOST):
        for name, each in sessions.items():
            start = clock()
            each.run(None, feeds)
            times[name].append(1e3 * (clock() - start))
    return {name: float(np.median(own)) for name, own in times.items()}


def float_kernels(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of the time of kernels that take floats, by operator; QuantizeLinear left out."""
    with tempfile.TemporaryDirectory() as folder:
        traced = session(path, 1, str(Path(folder) / "trace"))
        for _ in range(LOOKED_AT):
            traced.run(None, feeds)
        events = json.loads(Path(traced.end_profiling()).read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time"):
            types = event["args"].get("input_type_shape") or [{}]
            operator = event["args"]["op_name"]
            # The first input of some integer kernels is their output's scale.
            is_float = "float" in types[0] and not operator.startswith(("QuantizeLinear", "QLinear"))
            spent[operator if is_float else ""] += event["dur"]
    total = sum(spent.values())
    return {operator: took / total for operator, took in spent.most_common() if operator}


def measure(network: Network) -> list[dict]:
    """A line a number of threads."""
    files = files_of(network)
    feeds = feeds_of(network, files[FLOAT], network.batch)
    kernels = float_kernels(files["W8A8"], feeds)
    return [
        {"threads": threads, "times": milliseconds(files, feeds, threads), "float_kernels": kernels}
        for threads in THREADS
    ]


def show(kept: Kept) -> None:
    """Print the table."""
    rows = []
    for line in kept.lines:
        times = line["times"]
        top = sorted(line["float_kernels"].items(), key=lambda each: -each[1])[:3]
        batch = f", {line['batch']} at once" if line["batch"] > 1 else ""
        rows.append(
            [
                line["name"] + batch,
                line["threads"],
                f"{times[FLOAT]:.3g}",
                *(f"{times[name]:.3g} ({times[FLOAT] / times[name]:.2f})" for name in (*BUDGETS, OWN)),
                ", ".join(f"{operator} {100 * share:.0f} %" for operator, share in top if share >= 0.005)
                or "none",
            ]
        )
    headers = [
        "network",
        "threads",
        "float, ms",
        *(f"{name}, ms (speed-up)" for name in (*BUDGETS, OWN)),
        "float",
    ]
    print(tabulate(rows, headers, disable_numparse=True))


def chosen() -> list[Network]:
    """All, or the one that the environment names."""
    name = os.environ.get("FILE_SPEED")
    return [network for network in NETWORKS if name in (None, network.name)]


def main() -> None:
    work: Callable[[Network], list[dict]] = measure
    measure_and_show(__doc__, Kept(OUTPUT / "table.jsonl", Network), chosen(), work, show)


if __name__ == "__main__":
    main()
