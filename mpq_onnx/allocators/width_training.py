"""Learning the widths: quantizers whose width is a parameter, on every item of the problem, and the budget in the loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.problem import BudgetSide, Problem
from mpq_onnx.allocators.targets import TARGETS
from mpq_onnx.allocators.training_data import TrainingBatch
from mpq_onnx.allocators.training_loop import Learning, TrainingRun, train
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import (
    LearnedDynamicQuantizer,
    LearnedQuantizer,
    LearningRules,
    WidthTable,
    activation_quantizers,
    with_quantizers,
)
from mpq_onnx.mirror.width_choice import WIDTH_CHOICES
from mpq_onnx.quantization import SCHEMES, levels_of
from mpq_onnx.quantized_network import activation_quantizer
from mpq_onnx.weights import along_axis

STEPS_PER_SEED = 2**20


@dataclass(frozen=True)
class LearnedBits:
    """Real-valued widths, float64 [items]."""

    weight_bits: np.ndarray
    activation_bits: np.ndarray
    range_factors: dict[str, float]
    """By tensor; empty where no ranges were learned."""


@dataclass(frozen=True)
class Learner:
    """The mirror with learnable widths."""

    mirror: Mirror
    weights: dict[str, LearnedQuantizer]
    activations: dict[str, LearnedQuantizer]
    rules: LearningRules

    @property
    def parameters(self) -> list[nn.Parameter]:
        quantizers = (*self.weights.values(), *self.activations.values())
        ranges = [module.log_range for module in quantizers if module.log_range is not None]
        return [module.log2_bits for module in quantizers] + ranges

    @property
    def range_factors(self) -> dict[str, float]:
        """Learned factors on the ranges, by tensor."""
        return {
            tensor: float(module.log_range.detach().exp())
            for tensor, module in (*self.weights.items(), *self.activations.items())
            if module.log_range is not None
        }

    @torch.no_grad()
    def set_range_factors(self, factors: Mapping[str, float]) -> None:
        """The inverse; tensors without a factor keep their ranges."""
        for tensor, module in (*self.weights.items(), *self.activations.items()):
            if module.log_range is not None and tensor in factors:
                module.log_range.fill_(float(np.log(factors[tensor])))

    def clamp_(self) -> None:
        """Keep the widths within the allowed ones."""
        for module in (*self.weights.values(), *self.activations.values()):
            module.clamp_()


def train_widths(problem: Problem, weight_bits: np.ndarray, activation_bits: np.ndarray) -> LearnedBits:
    """Run the training from the given start (float64 [items] each)."""
    learner = build_learner(problem, weight_bits, activation_bits)
    run = TrainingRun("learn widths", problem.training, problem.data, problem.log, problem.checkpoint)
    train(learning(problem, learner), run)
    return LearnedBits(
        _joined(problem.weights, learner.weights),
        _joined(problem.activations, learner.activations),
        learner.range_factors,
    )


def learning(problem: Problem, learner: Learner) -> Learning:
    """Task loss + lambda * (max(0, weight bits - budget) + max(0, activation bits - budget)), as the budgets measure bits."""
    target = TARGETS[problem.training.labels]

    def loss(batch: TrainingBatch, step: int) -> Tensor:
        # Of the step alone, so that a resumed training draws what an uninterrupted one does.
        learner.rules.generator.manual_seed(problem.training.seed * STEPS_PER_SEED + step)
        outputs = batch.by_example(learner.mirror.module.forward(*batch.inputs))
        return target(outputs, batch) + problem.training.penalty * _excess(problem, learner)

    return Learning(learner.parameters, loss, learner.clamp_, lambda: _describe(problem, learner))


def build_learner(problem: Problem, weight_bits: np.ndarray, activation_bits: np.ndarray) -> Learner:
    """Put a learnable quantizer on every item of the problem, and fixed ones on the model's inputs."""
    device = problem.data.device
    training = problem.training
    rules = LearningRules(
        WIDTH_CHOICES[training.width_choice],
        torch.Generator().manual_seed(training.seed),
        training.learn_ranges,
    )
    weights = {}
    starts = problem.weights.split(weight_bits)
    for site in problem.sites.weights:
        if site.tensor in starts:
            shape = along_axis(len(site.shape), site.channel_axis)
            grids = problem.grids(site)
            scale, zero_point, levels = (
                torch.from_numpy(np.stack([getattr(grid, name).reshape(shape) for grid in grids]))
                for name in ("scale", "zero_point", "levels")
            )
            start = torch.tensor(starts[site.tensor], dtype=torch.float32)
            bits = start.reshape(shape) if len(start) > 1 else start.reshape(())
            table = WidthTable(_choices(problem.weights), scale, zero_point, levels)
            weights[site.tensor] = LearnedQuantizer(table, bits, rules).to(device)
    activations: dict[str, LearnedQuantizer] = {}
    for tensor, start in zip(problem.activations.names, activation_bits, strict=True):
        quantizers = [
            problem.calibration.tensors[tensor].quantizer(bits) for bits in problem.activations.choices
        ]
        scale, zero_point, levels = (
            torch.tensor(column, dtype=torch.float32) for column in zip(*quantizers, strict=True)
        )
        if problem.dynamic_ranges:  # what is always zero in calibration may have a range in other examples
            usable = SCHEMES[problem.calibration.scheme].usable
            levels = torch.tensor([float(usable(levels_of(bits))) for bits in problem.activations.choices])
        table = WidthTable(_choices(problem.activations), scale, zero_point, levels)
        bits = torch.tensor(start, dtype=torch.float32)
        activations[tensor] = (
            LearnedDynamicQuantizer(table, bits, rules, problem.calibration.scheme)
            if problem.dynamic_ranges
            else LearnedQuantizer(table, bits, rules)
        ).to(device)
    everything: dict[str, nn.Module] = {**_fixed_quantizers(problem, device), **activations}
    mirror = with_quantizers(problem.mirror, everything, weights, problem.sites.readers)
    return Learner(mirror, weights, activations, rules)


def _choices(items: WidthItems) -> Tensor:
    return torch.tensor(items.choices, dtype=torch.float32)


def _fixed_quantizers(problem: Problem, device: torch.device) -> dict[str, nn.Module]:
    if problem.budget.activation_bits is None:
        return {}
    fixed = {
        site.tensor: activation_quantizer(
            problem.calibration, site.tensor, site.fixed_bits, problem.dynamic_ranges
        )
        for site in problem.sites.activations
        if site.fixed_bits is not None
    }
    return {tensor: module.to(device) for tensor, module in activation_quantizers(fixed).items()}


def _excess(problem: Problem, learner: Learner) -> Tensor:
    """How far the mean widths are above their budgets, in bits."""
    total = torch.zeros((), device=problem.data.device)
    for side, modules in (
        (problem.weight_side, learner.weights),
        (problem.activation_side, learner.activations),
    ):
        if side.budget is not None and side.items.names:
            total = total + torch.relu(_spent(side, modules) - side.budget)
    return total


def _spent(side: BudgetSide, modules: Mapping[str, LearnedQuantizer]) -> Tensor:
    bits = torch.cat([modules[tensor].bits.reshape(-1) for tensor in side.items.names])
    sizes = torch.as_tensor(side.items.sizes, dtype=torch.float32, device=bits.device)
    return side.measure.spent(sizes, bits)  # type: ignore[no-any-return]


def _joined(items: WidthItems, modules: Mapping[str, LearnedQuantizer]) -> np.ndarray:
    return items.join(
        {tensor: modules[tensor].bits.detach().reshape(-1).cpu().double().numpy() for tensor in items.names}
    )


def _describe(problem: Problem, learner: Learner) -> str:
    sides = (
        ("weight bits", problem.weight_side, learner.weights),
        ("activation bits", problem.activation_side, learner.activations),
    )
    return ", ".join(
        f"{name} {float(_spent(side, modules).detach()):.3f}"
        for name, side, modules in sides
        if side.items.names
    )
