"""What gpu_check.py compares: every stage that torch computes, measured on one device, as arrays."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mpq_onnx import AllocateOptions, AllocateResult, EnergyOptions, allocate
from mpq_onnx.arithmetic.weights import WeightRules
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.build import frozen_mirror
from mpq_onnx.precision.energies import EnergyProblem
from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.problem import ENERGIES, Problem
from mpq_onnx.precision.training import learning
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.precision.width_budgets import WidthBudget, WidthBudgets
from mpq_onnx.precision.widths import WidthProblem
from mpq_onnx.runs.noise_bench import NoiseBench
from mpq_onnx.runs.preparation import FloatModel
from mpq_onnx.runs.quantizing import torch_device
from mpq_onnx.runs.width_bench import WidthBench

Arrays = Sequence[np.ndarray]
EXAMPLES = 96
BATCH = 16
WEIGHT_BITS, ACTIVATION_BITS = 3.0, 5.0
WIDTHS = tuple(range(2, 9))
ENERGY = 20.0
"""Photons per MAC."""
DRAWS = 200
"""Of the noise, for its statistics."""
TRAINING = TrainingSettings(steps=12, batch_size=BATCH)


@dataclass(frozen=True)
class Network:
    """A float model, its data, and the calibration that all devices share."""

    model: FloatModel
    data: str
    """Data spec of EXAMPLES examples."""
    calibration: Calibration


class Subject:
    """One network on one device; what several stages need of it is made once."""

    def __init__(self, network: Network, device: str, folder: Path) -> None:
        """Args: device: cpu or cuda. folder: for what is written."""
        self.network, self.device, self.folder = network, device, folder
        self.torch_device = torch_device(device)
        self.data = network.model.open_data(network.data)

    @cached_property
    def widths(self) -> WidthProblem:
        """Bits for weights and activations."""
        network = self.network
        mirror = frozen_mirror(network.model.model, network.model.path, self.torch_device)
        return WidthProblem(
            mirror=mirror,
            budgets=WidthBudgets(
                find_sites(network.model.model, network.calibration.shapes),
                WidthBudget(WEIGHT_BITS, ACTIVATION_BITS, WIDTHS, WIDTHS, "layer"),
            ),
            calibration=network.calibration,
            weight_rules=WeightRules(),
            training=TRAINING,
            data=TrainingData(self.data, mirror, self.torch_device),
            log=logging.getLogger("gpu_check"),
        )

    @cached_property
    def energies(self) -> EnergyProblem:
        """Energies under shot noise."""
        options = EnergyOptions(noise=("shot",), device=self.device, batch_size=BATCH)
        bench = NoiseBench(self.network.model, self.data, None, options)
        return bench.at(ENERGY, options, self.folder).problem

    def rounded(self, method: str) -> Arrays:
        """Distance from the float model of equal widths, rounded by `method` and run in onnxruntime: [1]."""
        options = AllocateOptions(device=self.device, rounding=method)
        bench = WidthBench(self.network.model.model, self.widths, options, self.widths.data)
        candidate = self.widths.candidate("uniform", self.widths.uniform())
        return [np.array([bench.measure(candidate).result.distance])]


def mirror_outputs(subject: Subject) -> Arrays:
    """Of the float mirror, for all examples."""
    batch = subject.widths.data.batch(range(EXAMPLES))
    with torch.no_grad():
        return [each.cpu().numpy() for each in subject.widths.mirror.module.forward(*batch.inputs)]


def mirror_gradients(subject: Subject) -> Arrays:
    """Of the sum of squared outputs, with respect to all float constants together: some have none but for rounding."""
    network = subject.network
    mirror = build_mirror(network.model.model, network.model.path)
    mirror.module.to(subject.torch_device)
    batch = subject.widths.data.batch(range(BATCH))
    torch.stack([each.square().sum() for each in mirror.module.forward(*batch.inputs)]).sum().backward()
    gradients = [each.grad for each in mirror.module.parameters() if each.grad is not None]
    return [torch.cat([each.reshape(-1) for each in gradients]).cpu().numpy()]


def width_costs(subject: Subject) -> Arrays:
    """Of every width of every tensor, by kind."""
    return list(measured_costs(subject.widths).values())


def closed_form_widths(subject: Subject) -> Arrays:
    """Widths by item and kind."""
    return list(subject.widths.solve(measured_costs(subject.widths)).values())


def width_step(subject: Subject) -> Arrays:
    """Loss and gradients of one training step of the widths."""
    return _step(subject.widths)


def adaptive(subject: Subject) -> Arrays:
    """See Subject.rounded."""
    return subject.rounded("adaptive")


def block(subject: Subject) -> Arrays:
    """See Subject.rounded."""
    return subject.rounded("block")


def noise_costs(subject: Subject) -> Arrays:
    """Of every multiply-accumulate node at unit energy."""
    return list(measured_costs(subject.energies).values())


def closed_form_energies(subject: Subject) -> Arrays:
    """Energies by node."""
    problem = subject.energies
    return [problem.solve(measured_costs(problem))[ENERGIES]]


def noise_statistics(subject: Subject) -> Arrays:
    """Root mean square of the noise at every output, and 1 + its mean in these units, over DRAWS draws: [outputs] each."""
    problem = subject.energies
    noisy = problem.noisy(problem.uniform()[ENERGIES])
    noisy.generator.manual_seed(0)
    inputs = problem.data.batch(range(BATCH)).inputs
    with torch.no_grad():
        (exact,) = problem.mirror.module.forward(*inputs)
        noise = torch.stack([noisy.mirror.module.forward(*inputs)[0] - exact for _ in range(DRAWS)])
    drawn = noise.flatten(0, 1).double().cpu().numpy()
    root = np.sqrt((drawn**2).mean(axis=0))
    return [root, 1 + drawn.mean(axis=0) / root]


def energy_step(subject: Subject) -> Arrays:
    """Loss of one training step of the energies, mean over DRAWS draws: the devices draw differently."""
    losses = [_step(subject.energies, step)[0] for step in range(DRAWS)]
    return [np.mean(losses, axis=0)]


def whole_allocation(subject: Subject) -> Arrays:
    """Widths that the command finds by the closed form, by tensor; the file passed its check against the mirror."""
    widths = _allocate(subject, "water-filling").chosen.allocation.widths()
    return [np.array([-1.0 if each is None else each for _, each in sorted(widths.items())])]


def trained_allocation(subject: Subject) -> Arrays:
    """Distance from the float model of what the default method keeps: [1]."""
    return [np.array([_allocate(subject, "refined").chosen.distance])]


@dataclass(frozen=True)
class Stage:
    """One line of the table, for every network."""

    name: str
    measure: Callable[[Subject], Arrays]
    tolerance: float
    """Of the largest difference, relative to the largest value of its array."""


STAGES = (
    Stage("mirror", mirror_outputs, 1e-5),
    Stage("mirror gradients", mirror_gradients, 1e-4),
    Stage("costs of widths", width_costs, 1e-3),
    Stage("widths, closed form", closed_form_widths, 0.0),
    Stage("training step, widths", width_step, 0.02),
    Stage("adaptive rounding", adaptive, 0.05),
    Stage("block rounding", block, 0.2),
    Stage("costs of noise", noise_costs, 1e-3),
    Stage("energies, closed form", closed_form_energies, 1e-3),
    Stage("noise statistics", noise_statistics, 0.1),
    Stage("training step, energies", energy_step, 0.1),
    Stage("allocate, closed form", whole_allocation, 0.0),
    Stage("allocate, refined", trained_allocation, 0.2),
)
"""Rounding and trained levels may fall to either side of an edge, and block rounding and noise are drawn on the device: there
what comes out has to be as good, not the same."""


def largest_difference(first: Arrays, second: Arrays) -> float:
    """Of any two numbers, relative to the largest of their array; inf where shapes differ or a number is not finite."""
    worst = 0.0
    if len(first) != len(second):
        return float("inf")
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape or not np.isfinite(other).all() or not np.isfinite(one).all():
            return float("inf")
        largest = float(np.abs(one).max(initial=0.0))
        apart = float(np.abs(one.astype(np.float64) - other).max(initial=0.0))
        worst = max(worst, apart / largest if largest > 0 else apart)
    return worst


def _step(problem: Problem, step: int = 0) -> list[np.ndarray]:
    """Loss [], and the gradients of all parameters, of one step from uniform levels on one batch."""
    learner = problem.learner(problem.uniform())
    learned = learning(problem, learner)
    learned.begin(step, 0)
    loss = learned.loss(problem.data.batch(range(BATCH)))
    loss.backward()
    gradients = [each.grad.cpu().numpy().reshape(-1) for each in learned.parameters if each.grad is not None]
    return [loss.detach().cpu().numpy(), np.concatenate(gradients)]


def _allocate(subject: Subject, method: str) -> AllocateResult:
    """The whole command, with a short training."""
    network = subject.network
    return allocate(
        network.model.path,
        network.data,
        subject.folder / method,
        weight_bits=WEIGHT_BITS,
        activation_bits=ACTIVATION_BITS,
        options=AllocateOptions(device=subject.device, method=method, steps=TRAINING.steps, batch_size=BATCH),
    )
