"""Runs in an environment with onnx and onnxruntime alone: every file given is checked, loaded and run on its golden tensors.

python plain_run.py FILE [GOLDEN_FOLDER] ...; prints a JSON object: by file the largest difference from the golden outputs, or,
without golden tensors, the largest output for an input of zeros.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper


def tensors(folder: Path, kind: str) -> list[np.ndarray]:
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [numpy_helper.to_array(onnx.load_tensor(str(path))) for path in paths]


def run(file: str) -> float:
    onnx.checker.check_model(file, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    golden = Path(file).parent / "golden"
    if not golden.is_dir():
        sizes = [[size if isinstance(size, int) else 1 for size in entry.shape] for entry in inputs]
        feeds = {entry.name: np.zeros(size, np.float32) for entry, size in zip(inputs, sizes, strict=True)}
        outputs = session.run(None, feeds)
        assert all(np.isfinite(output).all() for output in outputs)
        return max(float(np.abs(output).max()) for output in outputs)
    worst = 0.0
    for example in sorted(golden.iterdir()):
        names = [entry.name for entry in inputs]
        found = session.run(None, dict(zip(names, tensors(example, "input"), strict=True)))
        for output, wanted in zip(found, tensors(example, "output"), strict=True):
            worst = max(worst, float(np.abs(output - wanted).max()))
    return worst


if __name__ == "__main__":
    absent = [name for name in ("mpq_onnx", "torch", "onnxscript") if importlib.util.find_spec(name) is None]
    print(json.dumps({"absent": absent, "files": {file: run(file) for file in sys.argv[1:]}}))
