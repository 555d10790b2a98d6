"""A row per network of the papers: export, mirror, quantized and noisy files in onnxruntime, allocation, times and memory.

Weights are random and so are the inputs, where no real ones can be had without a download: the table shows that every stage
works and agrees on every network, not how accurate it is (sst2_minilm.py and adult_dlrm.py are for that). Weights are rounded
to nearest: adaptive rounding of a ResNet-50 takes half an hour on two cores. Each row runs in a
process of its own, and every finished row is kept in output/.

    python benchmarks/model_table.py            # about an hour on two cores
    python benchmarks/model_table.py --show     # the table of what is there
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from kept import Kept
from tabulate import tabulate

import mpq_onnx
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.noisy_mac import NoisyMac
from mpq_onnx.precision.recorder import Recorder
from mpq_onnx.runs.noise_bench import NoiseBench
from mpq_onnx.runs.noisy_graph import load_noise_free
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.noise_ratios import measure_ratios
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.statistics import SignalToNoise

OUTPUT = Path(__file__).resolve().parent / "output" / "models"
RESULTS = OUTPUT / "table.jsonl"
STEPS = 20
NOISES = ("thermal", "shot", "weight")
QUIET_ENERGY = 1e4
"""High enough that a node's noise hardly changes what the next one sees, so that the clean network predicts it."""


@dataclass(frozen=True)
class Row:
    """One network."""

    source: str
    examples: int = 16
    """Random ones; a quarter is for validation."""
    batch: int = 4
    length: int = 32
    """Tokens of a text model's input."""
    noisy_examples: int = 16
    """Passed through the noisy network, again and again where there are fewer: nodes with few outputs need many."""


ROWS = (
    Row("dlrm", examples=512, batch=32, noisy_examples=4096),
    Row("torchvision:shufflenet_v2_x1_0"),
    Row("torchvision:mobilenet_v2"),
    Row("torchvision:googlenet"),
    Row("transformers:bert", examples=32, batch=8, noisy_examples=64),
    Row("torchvision:inception_v3"),
    Row("pytorchcv:resnet50"),
    Row("torchvision:resnet50", examples=64, batch=32),
)


def measure(row: Row) -> dict:
    """Every stage on one network."""
    folder = OUTPUT / re.sub(r"\W+", "_", row.source)
    data = f"random?count={row.examples}"
    found: dict = {"seconds": {}}

    def timed(name: str, work):
        start = time.perf_counter()
        result = work()
        found["seconds"][name] = time.perf_counter() - start
        return result

    path = folder / "float.onnx"
    exported = timed("export", lambda: mpq_onnx.export(row.source, path, sequence_length=row.length))
    found["nodes"] = exported.nodes
    found["mirror_sqnr"] = timed("mirror", lambda: mirror_sqnr(path, data))
    options = mpq_onnx.AllocateOptions(steps=STEPS, batch_size=row.batch, rounding="nearest")
    eight = timed(
        "W8A8",
        lambda: mpq_onnx.allocate(
            path,
            data,
            folder / "w8a8",
            weight_bits=8,
            activation_bits=8,
            options=replace(options, method="uniform"),
            overwrite=True,
        ),
    )
    mixed = timed(
        "mixed",
        lambda: mpq_onnx.allocate(
            path, data, folder / "mixed", weight_bits=4, activation_bits=8, options=options, overwrite=True
        ),
    )
    for name, result in (("w8a8", eight), ("mixed", mixed)):
        check = result.mirror_check
        found[name] = {
            "sqnr": min(check.optimized_sqnr, check.unoptimized_sqnr),
            "same": check.same_predictions,
            "output_sqnr": result.chosen.evaluation.comparison.output_sqnr,
            "uniform_output_sqnr": result.uniform.evaluation.comparison.output_sqnr,
            "weight_bits": result.chosen.allocation.mean_weight_bits,
            "activation_bits": result.chosen.allocation.mean_activation_bits,
            "kept": result.chosen.name,
        }
    found["losses"] = losses(folder / "mixed" / "training.log")
    for noise in NOISES:
        found[noise] = timed(
            noise, lambda noise=noise: deviations(eight.model_path, noise, data, row.noisy_examples)
        )
    found["peak_gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


def measure_apart(row: Row) -> list[dict]:
    """The same in a process of its own, whose peak of memory is this row's."""
    done = subprocess.run(
        [sys.executable, __file__, "--row", str(ROWS.index(row))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return [json.loads(done.stdout.splitlines()[-1])]


def mirror_sqnr(path: Path, data: str) -> float:
    """Decibels of the mirror's outputs against onnxruntime's, float."""
    base = load_float_model(path)
    feeds = base.open_data(data).read([0, 1]).inputs
    with torch.no_grad():
        found = build_mirror(base.model).run(feeds, torch.device("cpu"))
    ratio = SignalToNoise()
    for ours, wanted in zip(found, Runner(base.model, "cpu").run(feeds), strict=True):
        ratio.update(wanted, ours.numpy())
    return ratio.decibels


def losses(log: Path) -> list[float]:
    """Mean loss of every epoch."""
    return [float(text) for text in re.findall(r"loss ([\d.e+-]+),", log.read_text(encoding="utf-8"))]


@torch.no_grad()
def deviations(model: str, noise: str, data: str, examples: int) -> dict:
    """Noise measured in onnxruntime over noise predicted by the formulas, at the output of every multiply-accumulate node."""
    options = mpq_onnx.EnergyOptions((noise,), method="uniform")
    base = load_noise_free(model)
    bench = NoiseBench(base, base.open_data(data), None, options)
    quiet = bench.at(QUIET_ENERGY, options, OUTPUT)
    (candidate,) = quiet.propose("uniform")
    modules = quiet.noisy_mirror(candidate).modules
    outputs = [bench.mirror.values[site.output] for site in bench.sites]
    recorder = Recorder(bench.mirror, [], set(outputs))
    positions = [index % len(bench.validation_set) for index in range(examples)]
    recorder.run_batch(bench.validation.batch(positions).inputs)
    predicted = {
        site.node: predicted_deviation(modules[site.node], *recorder.arguments[output][:2])
        for site, output in zip(bench.sites, outputs, strict=True)
    }
    graph = bench.graph(quiet.allocation(candidate))
    measured = measure_ratios(graph, bench.validation_set.part(positions), "cpu")
    ratios = np.array([node.noise_deviation / predicted[node.node] for node in measured.nodes])
    return {
        "nodes": len(ratios),
        "median": float(np.median(ratios)),
        "low": ratios.min(),
        "high": ratios.max(),
    }


def predicted_deviation(module: NoisyMac, x: torch.Tensor, w: torch.Tensor) -> float:
    """Root mean square of the noise at the node's output, for clean inputs."""
    (model,) = module.models
    if model.output_variance is not None:
        viewed = module.geometry.view(module.geometry.mac(x, w, None), w)
        variance = module.unit_output_variance(model, x, w).expand_as(viewed)
    else:
        variance = module.geometry.mac(
            x.square(), module.unit_weight_variance(model, x, w).expand_as(w), None
        )
    return float((variance.double().mean() / QUIET_ENERGY).sqrt())


def show(lines: list[dict]) -> None:
    """Print the table."""
    rows = []
    for line in lines:
        seconds, mixed, eight = line["seconds"], line["mixed"], line["w8a8"]
        noisy = [
            f"{line[name]['median']:.3f} [{line[name]['low']:.2f}, {line[name]['high']:.2f}]"
            for name in NOISES
        ]
        epochs = line["losses"]
        quarter = -(-len(epochs) // 4)  # single batches differ by more than the widths change
        rows.append(
            [
                line["source"].replace("torchvision:", ""),
                f"{line['nodes']}, {seconds['export']:.0f} s",
                f"{line['mirror_sqnr']:.0f} dB",
                f"{eight['sqnr']:.0f} dB, {100 * eight['same']:.0f} %",
                f"{mixed['sqnr']:.0f} dB, {100 * mixed['same']:.0f} %",
                f"{mixed['weight_bits']:.3f} / {mixed['activation_bits']:.3f}",
                f"{mixed['uniform_output_sqnr']:.1f} -> {mixed['output_sqnr']:.1f} dB",
                f"{np.mean(epochs[:quarter]):.3g} -> {np.mean(epochs[-quarter:]):.3g}",
                f"{seconds['mixed']:.0f} s",
                *noisy,
                f"{line['peak_gigabytes']:.1f} GB",
            ]
        )
    headers = [
        "network (random weights)",
        "nodes, export",
        "mirror, float",
        "W8A8: mirror",
        "W4A8: mirror",
        "mean bits",
        "outputs, uniform -> allocated",
        f"loss, first and last quarter of {STEPS} steps",
        "allocate",
        *NOISES,
        "peak",
    ]
    print(tabulate(rows, headers, disable_numparse=True, tablefmt="pipe"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--row", type=int, help="measure this row alone, and print it as JSON")
    arguments = parser.parse_args()
    if arguments.row is not None:
        print(json.dumps(measure(ROWS[arguments.row]), default=float))
        return
    kept = Kept(RESULTS, Row)
    if not arguments.show:
        kept.run(ROWS, measure_apart)
    show(kept.lines)


if __name__ == "__main__":
    main()
