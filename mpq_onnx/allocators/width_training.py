"""Learning the widths: quantizers whose width is a parameter, on every item of the problem, and the budget in the loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.problem import Problem
from mpq_onnx.allocators.task_loss import task_loss
from mpq_onnx.allocators.training_data import TrainingBatch
from mpq_onnx.allocators.training_loop import Learning, TrainingRun, train
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import (
    FixedQuantizer,
    LearnedQuantizer,
    WidthTable,
    with_quantizers,
)
from mpq_onnx.weights import along_axis


@dataclass(frozen=True)
class LearnedBits:
    """Real-valued widths, float64 [items]."""

    weight_bits: np.ndarray
    activation_bits: np.ndarray


@dataclass(frozen=True)
class Learner:
    """The mirror with learnable widths."""

    mirror: Mirror
    weights: dict[str, LearnedQuantizer]
    activations: dict[str, LearnedQuantizer]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [module.log2_bits for module in (*self.weights.values(), *self.activations.values())]

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
        _joined(problem.weights, learner.weights), _joined(problem.activations, learner.activations)
    )


def learning(problem: Problem, learner: Learner) -> Learning:
    """Task loss + lambda * (max(0, mean weight bits - budget) + max(0, mean activation bits - budget))."""

    def loss(batch: TrainingBatch, step: int) -> Tensor:
        outputs = learner.mirror.module.forward(*batch.inputs)
        return task_loss(outputs, batch) + problem.training.penalty * _excess(problem, learner)

    return Learning(learner.parameters, loss, learner.clamp_, lambda: _describe(problem, learner))


def build_learner(problem: Problem, weight_bits: np.ndarray, activation_bits: np.ndarray) -> Learner:
    """Put a learnable quantizer on every item of the problem, and fixed ones on the model's inputs."""
    device = problem.data.device
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
            bits = start.reshape(shape) if problem.budget.granularity == "channel" else start.reshape(())
            table = WidthTable(_choices(problem.weights), scale, zero_point, levels)
            weights[site.tensor] = LearnedQuantizer(table, bits).to(device)
    activations = {}
    for tensor, start in zip(problem.activations.names, activation_bits, strict=True):
        quantizers = [
            problem.calibration.tensors[tensor].quantizer(bits) for bits in problem.activations.choices
        ]
        scale, zero_point, levels = (
            torch.tensor(column, dtype=torch.float32) for column in zip(*quantizers, strict=True)
        )
        table = WidthTable(_choices(problem.activations), scale, zero_point, levels)
        activations[tensor] = LearnedQuantizer(table, torch.tensor(start, dtype=torch.float32)).to(device)
    everything: dict[str, nn.Module] = {**_fixed_quantizers(problem, device), **activations}
    return Learner(with_quantizers(problem.mirror, everything, weights), weights, activations)


def _choices(items: WidthItems) -> Tensor:
    return torch.tensor(items.choices, dtype=torch.float32)


def _fixed_quantizers(problem: Problem, device: torch.device) -> dict[str, nn.Module]:
    if not problem.activations.names:
        return {}
    return {
        site.tensor: FixedQuantizer(*problem.calibration.tensors[site.tensor].quantizer(site.fixed_bits)).to(
            device
        )
        for site in problem.sites.activations
        if site.fixed_bits is not None
    }


def _excess(problem: Problem, learner: Learner) -> Tensor:
    """How far the mean widths are above their budgets, in bits."""
    total = torch.zeros((), device=problem.data.device)
    for items, modules, budget in (
        (problem.weights, learner.weights, problem.budget.weight_bits),
        (problem.activations, learner.activations, problem.budget.activation_bits),
    ):
        if budget is not None:
            total = total + torch.relu(_mean_bits(items, modules) - budget)
    return total


def _mean_bits(items: WidthItems, modules: Mapping[str, LearnedQuantizer]) -> Tensor:
    bits = torch.cat([modules[tensor].bits.reshape(-1) for tensor in items.names])
    sizes = torch.as_tensor(items.sizes, dtype=torch.float32, device=bits.device)
    return (bits * sizes).sum() / sizes.sum()


def _joined(items: WidthItems, modules: Mapping[str, LearnedQuantizer]) -> np.ndarray:
    return items.join(
        {tensor: modules[tensor].bits.detach().reshape(-1).cpu().double().numpy() for tensor in items.names}
    )


def _describe(problem: Problem, learner: Learner) -> str:
    sides = (
        ("weight bits", problem.weights, learner.weights),
        ("activation bits", problem.activations, learner.activations),
    )
    return ", ".join(
        f"{name} {float(_mean_bits(items, modules).detach()):.3f}"
        for name, items, modules in sides
        if items.names
    )
