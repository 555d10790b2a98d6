"""The main job from end to end: train a small network, export it, allocate 3 bits a weight, evaluate, draw.

Run by `make demo`; everything is written into ./demo-output.
"""

import sys
from pathlib import Path

import mpq_onnx
from mpq_onnx.report.plots import plot_bits
from mpq_onnx.report.tables import node_table, result_table

sys.path.insert(0, str(Path(__file__).parent))
from digits_cnn import TEST_SPEC, TRAINING_SPEC

OUTPUT = Path("demo-output")
WEIGHT_BITS = 3.0
ACTIVATION_BITS = 6.0


def main() -> None:
    """Print the tables and say where the files are."""
    model = OUTPUT / "digits.onnx"
    print("training a small network on scikit-learn's digits and exporting it ...", flush=True)
    exported = mpq_onnx.export("python:digits_cnn:trained", model)
    print(f"{model}: {exported.nodes} nodes, difference from torch {exported.largest_difference:.2g}\n")

    folders = {}
    for method in ("uniform", "refined"):
        print(
            f"allocating {WEIGHT_BITS:g} bits a weight, {ACTIVATION_BITS:g} an activation: {method} ...",
            flush=True,
        )
        folders[method] = mpq_onnx.allocate(
            model,
            TRAINING_SPEC,
            OUTPUT / method,
            weight_bits=WEIGHT_BITS,
            activation_bits=ACTIVATION_BITS,
            options=mpq_onnx.AllocateOptions(method=method, steps=100),
        )
    result = folders["refined"]
    print(f"\n{node_table(result.chosen.allocation, result.nodes)}\n")

    rows = {}
    for method, allocated in folders.items():
        found = mpq_onnx.evaluate(allocated.model_path, TEST_SPEC, baseline=model)
        name = "uniform" if method == "uniform" else f"allocated ({allocated.chosen.name})"
        rows[name] = (found.allocation, found.evaluation)
    print("test digits, all by onnxruntime")
    print(result_table(rows))

    picture = OUTPUT / "bits_by_layer.png"
    plot_bits(result.chosen.allocation, picture, "Digits network: bits by layer")
    print(f"\nquantized model: {result.model_path}\npicture: {picture}")


if __name__ == "__main__":
    main()
