"""What noise costs, normals from a bank and exact ones, in ratios of rounds that take turns: evaluation of ResNet-50 in
onnxruntime against the float file, and where the time goes; the trainer's step on shot noise against a plain forward plus
backward of the float fx graph (ResNet-20, batch 32).

    python benchmarks/noisy_speed.py
"""

import collections
import dataclasses
import json
import logging
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from resnet20 import OUTPUT, TRAIN, exported
from tabulate import tabulate
from training_step import seconds

import mpq_onnx
from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.model_file import clone, model_bytes
from mpq_onnx.graph.placement.mac_sites import MacSite, mac_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.passes.insert_noise import InsertNoisePass, NodeNoise
from mpq_onnx.precision.energies import EnergyProblem
from mpq_onnx.precision.targets import auto
from mpq_onnx.precision.training import learning
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_loop import training_step
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.registries import ENERGY_LEVELS, NOISE_DRAWS, NOISE_MODELS
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.evaluation import evaluate_runner
from mpq_onnx.runtime.noisy_evaluation import evaluate_noisy
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import tensor_shapes

IMAGES = "random?count=64&size=224"
BATCH = 8
ROUNDS = 3
STEP_ROUNDS = 15
STEP_BATCH = 32


def noisy(model: ir.Model, sites: tuple[MacSite, ...], noise: str, draws: str) -> ir.Model:
    """Every multiply-accumulate noisy, an energy a channel; ranges of 1, for their values do not change the work."""
    graph = clone(model)
    nodes = {
        site.node: NodeNoise(
            dataclasses.replace(site, weight_range=(1.0,) * site.channels, input_range=1.0),
            np.full(site.channels, 10.0),
        )
        for site in sites
    }
    InsertNoisePass(nodes, (noise,), 0, draws)(graph)
    return graph


def shares_of_time(model: ir.Model, dataset: Dataset) -> str:
    """Shares of the operators, in a session of one thread."""
    options = ort.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads = True, 1
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(model_bytes(model), options, providers=["CPUExecutionProvider"])
        for _ in range(2):
            session.run(None, dataset.read(range(BATCH)).inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            times[event["args"]["op_name"]] += event["dur"]
    whole = sum(times.values())
    return ", ".join(f"{name} {100 * time / whole:.0f} %" for name, time in times.most_common(6))


def evaluation() -> None:
    path = OUTPUT / "resnet50.onnx"
    if not path.is_file():
        mpq_onnx.export("torchvision:resnet50", path)
    base = load_float_model(path)
    dataset = base.open_data(IMAGES)
    sites = mac_sites(base.model, tensor_shapes(base.model, dataset, "cpu"), {})
    float_runner = Runner(base.model, "cpu")
    rows = []
    for noise in NOISE_MODELS:
        graphs = {draws: noisy(base.model, sites, noise, draws) for draws in NOISE_DRAWS}
        ratios: dict[str, list[float]] = {draws: [] for draws in graphs}
        for _ in range(ROUNDS):
            plain = evaluate_runner(float_runner, dataset, batch_size=BATCH).examples_per_second
            for draws, graph in graphs.items():
                found = evaluate_noisy(graph, dataset, repeats=1, seed=0, device="cpu", batch_size=BATCH)
                ratios[draws].append(plain / found.examples_per_second)
        for draws, graph in graphs.items():
            median = statistics.median(ratios[draws])
            rows.append([noise, draws, f"{plain:.1f}", f"{median:.2f}", shares_of_time(graph, dataset)])
    print(
        f"ResNet-50, 224x224, batch {BATCH}, all {len(sites)} multiply-accumulates noisy, median of {ROUNDS}"
    )
    headers = ["noise", "normals", "float images/s", "time of float", "where the time goes"]
    print(tabulate(rows, headers, disable_numparse=True))


def trainer() -> None:
    base = load_float_model(exported())
    dataset = base.open_data(f"{TRAIN}?count=256")
    plain = build_mirror(base.model)
    mirror = build_mirror(base.model)
    mirror.module.requires_grad_(False)
    data = TrainingData(dataset, mirror, torch.device("cpu"))
    batch = data.batch(np.arange(STEP_BATCH))
    sites = mac_sites(base.model, tensor_shapes(base.model, dataset, "cpu"), {})

    def float_step() -> None:
        plain.module.zero_grad()
        auto(plain.module.forward(*batch.inputs), batch).backward()

    def noisy_step(draws: str) -> Callable[[], float]:
        problem = EnergyProblem(
            mirror=mirror,
            sites=sites,
            noises=("shot",),
            energy_per_mac=10.0,
            granularity="channel",
            allowed=ENERGY_LEVELS["any"],
            training=TrainingSettings(batch_size=STEP_BATCH),
            data=data,
            log=logging.Logger("benchmark"),
            noise_draws=draws,
        )
        learned = learning(problem, problem.learner(problem.each_side(lambda kind, side: side.uniform())))
        optimizer = torch.optim.Adam(learned.parameters, lr=0.01)
        return lambda: training_step(learned, optimizer, [batch], 0)

    steps = {draws: noisy_step(draws) for draws in NOISE_DRAWS}
    ratios: dict[str, list[float]] = {draws: [] for draws in steps}
    for _ in range(STEP_ROUNDS):
        alone = seconds(float_step)
        for draws, step in steps.items():
            ratios[draws].append(seconds(step) / alone)
    texts = [f"{statistics.median(found):.2f} ({draws} normals)" for draws, found in ratios.items()]
    print(
        f"ResNet-20, batch {STEP_BATCH}, {torch.get_num_threads()} threads: a training step on shot noise takes"
        f" {', '.join(texts)} of the float forward plus backward (median of {STEP_ROUNDS})\n"
    )


def main() -> None:
    trainer()
    evaluation()


if __name__ == "__main__":
    main()
