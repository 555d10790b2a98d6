"""Other tools beside mpq-onnx on the same files, calibration images and budgets: onnxruntime.quantization, AIMET-ONNX with
AdaRound, and Sony's Model Compression Toolkit on ResNet-20. Each in a process of its own (peers/), without labels; accuracy is
read off the outputs that each gives for the test images. CPU seconds and memory are those of quantizing, reading included.

AdaRound takes ITERATIONS of a layer, so that its time is about ours or more; by default it takes 10,000. A width that a tool
does not have is left out.

    make .venv-peers/.ready
    python benchmarks/peers_table.py            # some three hours on two cores; every figure is kept as it comes
    NETWORKS=resnet20 python benchmarks/peers_table.py
    python benchmarks/peers_table.py --show
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from kept import Kept, measure_and_show
from resnet20 import DATA, OUTPUT
from rounding_accuracy import data_of
from shared_data import require
from tabulate import tabulate

from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
BUDGETS = ((8.0, 8), (4.0, 8), (3.0, 8), (4.0, 4))
CALIBRATED = {"resnet20": 1024, "efficientnet_lite0": 256}
"""Images, for every tool."""
ITERATIONS = {"resnet20": 2000, "efficientnet_lite0": 300}


@dataclass(frozen=True)
class Tool:
    """A script in peers/."""

    script: str
    python: Path
    weight_bits: tuple[float, ...]
    """The (mean) widths that it has."""
    activation_bits: tuple[int, ...]
    networks: tuple[str, ...]
    reads: Path | None = None
    """Another file of the same weights, where the tool does not read ours."""


ALL = ("resnet20", "efficientnet_lite0")
NETWORKS = os.environ.get("NETWORKS", ",".join(ALL)).split(",")
TOOLS = {
    "mpq-onnx": Tool("mpq_onnx_default.py", Path(sys.executable), (8, 4, 3), (8, 4), ALL),
    "onnxruntime": Tool("onnxruntime_static.py", PYTHON, (8, 4), (8, 4), ALL),
    "AIMET AdaRound": Tool("aimet_adaround.py", PYTHON, (8, 4, 3), (8, 4), ALL),
    "MCT mixed": Tool("mct_mixed.py", PYTHON, (8, 4, 3), (8,), ALL[:1], DATA / "resnet20_bn_opset13.onnx"),
}


@dataclass(frozen=True)
class Run:
    """One tool at one budget."""

    network: str
    weight_bits: float
    activation_bits: int
    tool: str


def runs(networks: Sequence[str]) -> Iterator[Run]:
    """The tools at one budget behind each other."""
    for network in networks:
        for weight_bits, activation_bits in BUDGETS:
            for name, tool in TOOLS.items():
                if (
                    network in tool.networks
                    and weight_bits in tool.weight_bits
                    and activation_bits in tool.activation_bits
                ):
                    yield Run(network, weight_bits, activation_bits, name)


def measure(run: Run) -> list[dict]:
    """Quantize, then compare the outputs with labels and with float."""
    require(PYTHON.parent, "other tools: make .venv-peers/.ready")
    model, train, test = data_of(run.network)
    tool = TOOLS[run.tool]
    with tempfile.TemporaryDirectory() as folder:
        calibration, _ = arrays(model, train, CALIBRATED[run.network])
        images, labels = arrays(model, test, None)
        places = [Path(folder) / name for name in ("train.npy", "test.npy", "outputs.npy")]
        for place, content in zip(places, (calibration, images), strict=False):
            np.save(place, content)
        command = [tool.python, HERE / "peers" / tool.script, tool.reads or model, *places]
        options = [
            "--weight-bits", run.weight_bits, "--activation-bits", run.activation_bits,
            "--iterations", ITERATIONS[run.network],
        ]  # fmt: skip
        done = subprocess.run([*map(str, command + options)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{run}: {done.stderr.strip().splitlines()[-1]}")
        found = np.load(places[-1]).argmax(axis=1)
    exact = float_classes(model, images)
    return [
        {
            **json.loads(done.stdout.splitlines()[-1]),
            "float_top1": float((exact == labels).mean()),
            "top1": float((found == labels).mean()),
            "agreement": float((found == exact).mean()),
        }
    ]


def arrays(model: Path, spec: str, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(inputs as the model reads them, labels) of `count` examples by a seeded shuffle, or of all in their order."""
    read = load_model(model)
    dataset = open_dataset(spec, model_inputs(read), read.metadata_props)
    order = (
        range(len(dataset)) if count is None else np.random.default_rng(0).permutation(len(dataset))[:count]
    )
    batch = dataset.read([*map(int, order)])
    (images,) = batch.inputs.values()
    return images, np.asarray(batch.labels)


def float_classes(model: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = np.array_split(images, max(len(images) // 16, 1))
    return np.concatenate([session.run(None, {name: part})[0].argmax(axis=1) for part in parts])


def show(kept: Kept) -> None:
    """One line a run, the tools at one budget below each other."""
    rows = []
    order = [*runs(ALL)]
    for run, (line,) in sorted(kept.by_work.items(), key=lambda item: order.index(item[0])):
        percents = (f"{100 * line[name]:.2f}" for name in ("float_top1", "top1", "agreement"))
        rows.append(
            [
                run.network,
                f"W{run.weight_bits:g}A{run.activation_bits}",
                run.tool,
                *percents,
                f"{line['seconds']:.0f}",
                f"{line['gigabytes']:.1f}",
            ]
        )
    headers = ["network", "budget", "tool", "float", "top-1", "agreement", "CPU s", "GB"]
    print(tabulate(rows, headers, disable_numparse=True))
    print("percent on the test images; all tools see the same calibration images, and no labels")


if __name__ == "__main__":
    measure_and_show(__doc__, Kept(OUTPUT / "peers.jsonl", Run), runs(NETWORKS), measure, show)
