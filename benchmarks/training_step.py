"""Time of one training step (forward, backward, update; widths of weights and activations learned) against a plain forward
plus backward of the float fx graph, side by side on ResNet-20, batch 32.

    python benchmarks/training_step.py
"""

import logging
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from resnet20 import TRAIN, exported

from mpq_onnx.arithmetic.weights import WeightRules
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.precision.targets import auto
from mpq_onnx.precision.training import learning
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_loop import training_step
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.precision.width_budgets import WidthBudget, WidthBudgets
from mpq_onnx.precision.widths import WidthProblem
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration

BATCH = 32
ROUNDS = 15
STEPS = 4
CHOICES = tuple(range(2, 9))


def seconds(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    for _ in range(STEPS):
        work(*arguments)
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    float_model = load_float_model(exported())
    dataset = float_model.open_data(f"{TRAIN}?count=256")
    calibration = measure_calibration(float_model, dataset, CalibrationRules(), "cpu")
    positions = np.arange(BATCH)
    plain = build_mirror(float_model.model)
    data = TrainingData(dataset, plain, torch.device("cpu"))
    batch = data.batch(positions)

    def float_step() -> None:
        plain.module.zero_grad()
        auto(plain.module.forward(*batch.inputs), batch).backward()

    print(
        f"ResNet-20, batch {BATCH}, {torch.get_num_threads()} threads, median of {ROUNDS} interleaved rounds"
    )
    for granularity in ("layer", "channel"):
        mirror = build_mirror(float_model.model)
        mirror.module.requires_grad_(False)
        problem = WidthProblem(
            mirror=mirror,
            budgets=WidthBudgets(
                find_sites(float_model.model, calibration.shapes),
                WidthBudget(4.0, 4.0, CHOICES, CHOICES, granularity),
            ),
            calibration=calibration,
            weight_rules=WeightRules(),
            training=TrainingSettings(batch_size=BATCH),
            data=TrainingData(dataset, mirror, torch.device("cpu")),
            log=logging.getLogger("benchmark"),
        )
        learner = problem.learner(problem.each_side(lambda kind, side: side.uniform()))
        optimizer = torch.optim.Adam(learner.parameters, lr=0.01)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            times[0].append(seconds(float_step))
            times[1].append(
                seconds(training_step, learning(problem, learner), optimizer, [data.batch(positions)], 0)
            )
        float_time, learned_time = (statistics.median(each) for each in times)
        print(
            f"{granularity:8s} float forward+backward {1e3 * float_time:.1f} ms, training step"
            f" {1e3 * learned_time:.1f} ms, ratio {learned_time / float_time:.2f}"
        )


if __name__ == "__main__":
    main()
