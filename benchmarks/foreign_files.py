"""ONNX files that this project did not export, through export, allocate (random data, no labels) and evaluate.

The nine light models inside the onnx package (opset 9, constant weights), scikit-learn's by skl2onnx (pip install skl2onnx) and
torch's older exporter, at opsets 7 to 13. Each ends in a quantized file that runs, or in one clear line with exit code 3.

    python benchmarks/foreign_files.py            # about twenty minutes on two cores
    python benchmarks/foreign_files.py --show
"""

import importlib.util
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from kept import Kept, measure_and_show
from tabulate import tabulate

OUTPUT = Path(__file__).resolve().parent / "output" / "foreign"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
COMMAND = [sys.executable, "-m", "mpq_onnx"]
EXAMPLES = 8
LIGHT_MODELS = (
    "squeezenet",
    "shufflenet",
    "inception_v1",
    "densenet121",
    "inception_v2",
    "resnet50",
    "zfnet512",
    "bvlc_alexnet",
    "vgg19",
)
"""Small ones first."""
SKLEARN_MODELS = ("perceptron", "perceptron_zipmap", "logistic_regression", "scaler_regression", "forest")
SKLEARN_OPSETS, TORCH_OPSETS = (7, 9, 11, 13), (9, 11, 13)


@dataclass(frozen=True)
class File:
    """One ONNX file."""

    exporter: str
    name: str
    opset: int


def files() -> Iterator[File]:
    for opset in SKLEARN_OPSETS:
        for name in SKLEARN_MODELS:
            yield File("skl2onnx", name, opset)
    for opset in TORCH_OPSETS:
        for name in ("shufflenet_v2_x0_5", "gru"):
            yield File("torch (TorchScript)", name, opset)
    for name in LIGHT_MODELS:
        yield File("onnx light models", f"light_{name}", 9)


def write(file: File, path: Path) -> None:
    """Make the file as its exporter writes it."""
    if file.exporter.startswith("onnx"):
        path.write_bytes((LIGHT / f"{file.name}.onnx").read_bytes())
    elif file.exporter == "skl2onnx":
        path.write_bytes(sklearn_bytes(file))
    else:
        torch_export(file, path)


def sklearn_bytes(file: File) -> bytes:
    """A small model of the digits."""
    if importlib.util.find_spec("skl2onnx") is None:
        sys.exit("skl2onnx is not installed: pip install skl2onnx")
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    made = {
        "perceptron": MLPClassifier((32,), max_iter=40, random_state=0),
        "perceptron_zipmap": MLPClassifier((32,), max_iter=40, random_state=0),
        "logistic_regression": LogisticRegression(max_iter=200),
        "scaler_regression": make_pipeline(StandardScaler(), Ridge()),
        "forest": RandomForestClassifier(5, max_depth=4, random_state=0),
    }[file.name].fit(x, y)
    options = {} if file.name == "scaler_regression" else {id(made): {"zipmap": file.name.endswith("zipmap")}}
    proto = to_onnx(made, x[:1], options=options, target_opset={"": file.opset, "ai.onnx.ml": 1})
    return proto.SerializeToString()


def torch_export(file: File, path: Path) -> None:
    """By torch.onnx.export(dynamo=False)."""
    import torch
    import torchvision

    torch.manual_seed(0)
    if file.name == "gru":
        module: torch.nn.Module = torch.nn.GRU(8, 16, batch_first=True)
        example = torch.randn(2, 5, 8)
    else:
        module = torchvision.models.get_model(file.name, weights=None)
        example = torch.randn(2, 3, 224, 224)
    torch.onnx.export(
        module.eval(),
        (example,),
        str(path),
        dynamo=False,
        opset_version=file.opset,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )


def measure(file: File) -> list[dict]:
    folder = OUTPUT / f"{file.name}_{file.opset}"
    folder.mkdir(parents=True, exist_ok=True)
    source, exported = folder / "source.onnx", folder / "float.onnx"
    try:
        write(file, source)
    except Exception as error:  # whatever an exporter raises when it cannot reach an opset
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return [{"ended": "the exporter cannot write it", "line": reason[0]}]
    data = f"random?count={EXAMPLES}"
    start = time.perf_counter()
    steps = {
        "export": [source, "-o", exported],
        "allocate": [exported, "--data", data, "--weight-bits", 4, "--activation-bits", 8, "--steps", 2,
                     "--batch-size", 2, "--rounding", "nearest", "-o", folder / "out", "--overwrite"],
        "evaluate": [folder / "out" / "model.onnx", "--data", data, "--baseline", exported],
    }  # fmt: skip
    for name, arguments in steps.items():
        done = subprocess.run(
            [*COMMAND, name, *map(str, arguments), "--json"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("mpq-onnx: ")]
            assert done.returncode == 3, done.stderr
            assert len(lines) == 1, done.stderr
            return [{"ended": f"{name} stops, exit code 3", "line": lines[0]}]
    result = json.loads(done.stdout)
    return [
        {
            "ended": "runs",
            "line": "",
            "seconds": time.perf_counter() - start,
            "sqnr": result["evaluation"]["comparison"]["output_sqnr"],
            "weight_bits": json.loads((folder / "out" / "allocation.json").read_text())["achieved"][
                "weight_bits"
            ],
        }
    ]


def runs(line: dict) -> str:
    decibels = math.inf if line["sqnr"] is None else float(line["sqnr"])
    return f"runs: {line['weight_bits']:.3f} bits, outputs at {decibels:.0f} dB"


def show(kept: Kept) -> None:
    """Print the table."""
    rows = [
        [
            line["exporter"],
            line["name"],
            line["opset"],
            runs(line) if line["ended"] == "runs" else line["ended"],
            line["line"].replace(str(OUTPUT), "...").replace("|", "/"),
        ]
        for line in kept.lines
    ]
    print(tabulate(rows, ["exporter", "file", "opset", "", "why"], disable_numparse=True, tablefmt="pipe"))


def main() -> None:
    kept = Kept(OUTPUT / "table.jsonl", File)
    measure_and_show(__doc__, kept, files(), measure, show)


if __name__ == "__main__":
    main()
