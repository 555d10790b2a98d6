"""Both main jobs from end to end: train a small network and export it; allocate 3 bits a weight; allocate photons a MAC under
shot noise; evaluate everything in onnxruntime, and draw.

Run by `make demo`; everything is written into ./demo-output.
"""

import sys
from pathlib import Path

import mpq_onnx
from mpq_onnx.report.tables import (
    energy_node_table,
    energy_result_table,
    energy_text,
    node_table,
    result_table,
)

sys.path.insert(0, str(Path(__file__).parent))
from digits_cnn import TEST_SPEC, TRAINING_SPEC

OUTPUT = Path("demo-output")
WEIGHT_BITS = 3.0
ACTIVATION_BITS = 6.0
PHOTONS_PER_MAC = 2.0
REPEATS = 10


def main() -> None:
    """Print the tables and say where the files are."""
    model = OUTPUT / "digits.onnx"
    print("training a small network on scikit-learn's digits and exporting it ...", flush=True)
    exported = mpq_onnx.export("python:digits_cnn:trained", model)
    print(f"{model}: {exported.nodes} nodes, difference from torch {exported.largest_difference:.2g}\n")
    bits(model)
    energy(model)


def bits(model: Path) -> None:
    """The digital job."""
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
    print(f"\nquantized model: {result.model_path}")
    draw(OUTPUT / "refined")


def energy(model: Path) -> None:
    """The analog job."""
    rows = {}
    for method, granularity in (("uniform", "layer"), ("refined", "layer"), ("refined", "channel")):
        name = method if method == "uniform" else f"{method}, by {granularity}"
        print(f"allocating {PHOTONS_PER_MAC:g} photons a MAC under shot noise: {name} ...", flush=True)
        result = mpq_onnx.allocate_energy(
            model,
            TRAINING_SPEC,
            OUTPUT / f"shot_{method}_{granularity}",
            energy_per_mac=PHOTONS_PER_MAC,
            options=mpq_onnx.EnergyOptions(("shot",), method=method, granularity=granularity, steps=50),
        )
        found = mpq_onnx.evaluate(result.model_path, TEST_SPEC, baseline=model, repeats=REPEATS)
        rows[name] = (result.chosen.allocation, found.evaluation)
    print(f"\n{energy_node_table(result.chosen.allocation, result.nodes)}\n")
    print(f"test digits, {REPEATS} repeats of the noise, all by onnxruntime")
    print(energy_result_table(rows))
    print(f"\n{energy_text(result.chosen.allocation)}\nnoisy model: {result.model_path}")
    draw(Path(result.folder))


def draw(folder: Path) -> None:
    """A page of what a run found, and its figures."""
    drawn = mpq_onnx.report_folder(folder, folder / "report.html", figures=folder, figure_format="png")
    print(f"page: {drawn.path}\npictures: {', '.join(drawn.figures)}\n")


if __name__ == "__main__":
    main()
