"""The gradient method's training loop, with checkpoints: the same seed gives the same widths, interrupted or not."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mpq_onnx.allocators.items import Items
from mpq_onnx.allocators.problem import Problem
from mpq_onnx.allocators.task_loss import task_loss
from mpq_onnx.errors import ModelError
from mpq_onnx.files import replacing
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import (
    FixedQuantizer,
    LearnedQuantizer,
    WidthTable,
    with_quantizers,
)
from mpq_onnx.weights import along_axis

CHECKPOINT_EVERY = 50
"""Steps."""
AVERAGED_SHARE = 0.5
"""The result is the mean over the last part of the steps: single steps of Adam jitter by the learning rate."""


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
    settings = problem.training
    learner = build_learner(problem, weight_bits, activation_bits)
    optimizer = torch.optim.Adam(learner.parameters, lr=settings.learning_rate)
    average = _Average(learner, settings.steps)
    done = _restore(problem.checkpoint, learner, optimizer, average)
    epoch_steps = max(len(problem.data) // settings.batch_size, 1)
    losses: list[float] = []
    with tqdm(
        total=settings.steps, initial=done, desc="learn widths", disable=None, leave=False, unit="step"
    ) as bar:
        for step in range(done, settings.steps):
            epoch, index = divmod(step, epoch_steps)
            positions = problem.data.shuffled(settings.batch_size, settings.seed, epoch)[index]
            losses.append(training_step(problem, learner, optimizer, positions))
            if not math.isfinite(losses[-1]):
                raise ModelError(
                    f"training diverged at step {step + 1}: the loss is {losses[-1]}; lower --learning-rate"
                )
            average.update(step)
            bar.update()
            if index == epoch_steps - 1 or step == settings.steps - 1:
                line = _epoch_line(problem, learner, epoch, step + 1, losses)
                problem.log.info(line)
                bar.set_postfix_str(line)
                losses = []
            if (step + 1) % CHECKPOINT_EVERY == 0:
                _save(problem.checkpoint, learner, optimizer, average, step + 1)
    average.apply()
    return LearnedBits(
        _joined(problem.weights, learner.weights), _joined(problem.activations, learner.activations)
    )


class _Average:
    """Mean of log2 of the widths over the last part of the training."""

    def __init__(self, learner: Learner, steps: int) -> None:
        self.parameters = learner.parameters
        self.first = int(steps * (1 - AVERAGED_SHARE))
        self.count = 0
        self.sums = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        if step >= self.first:
            self.count += 1
            for total, parameter in zip(self.sums, self.parameters, strict=True):
                total += parameter

    @torch.no_grad()
    def apply(self) -> None:
        """Set the widths to their mean."""
        if self.count:
            for total, parameter in zip(self.sums, self.parameters, strict=True):
                parameter.copy_(total / self.count)


def training_step(
    problem: Problem, learner: Learner, optimizer: torch.optim.Optimizer, positions: np.ndarray
) -> float:
    """Forward, backward and update on the examples at `positions`; returns the loss."""
    batch = problem.data.batch(positions)
    optimizer.zero_grad()
    outputs = learner.mirror.module.forward(*batch.inputs)
    loss = task_loss(outputs, batch) + problem.training.penalty * _excess(problem, learner)
    loss.backward()
    optimizer.step()
    learner.clamp_()
    return float(loss.detach())


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
    for tensor, start in zip(problem.activations.tensors, activation_bits, strict=True):
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


def _choices(items: Items) -> Tensor:
    return torch.tensor(items.choices, dtype=torch.float32)


def _fixed_quantizers(problem: Problem, device: torch.device) -> dict[str, nn.Module]:
    if not problem.activations.tensors:
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


def _mean_bits(items: Items, modules: Mapping[str, LearnedQuantizer]) -> Tensor:
    bits = torch.cat([modules[tensor].bits.reshape(-1) for tensor in items.tensors])
    sizes = torch.as_tensor(items.sizes, dtype=torch.float32, device=bits.device)
    return (bits * sizes).sum() / sizes.sum()


def _joined(items: Items, modules: Mapping[str, LearnedQuantizer]) -> np.ndarray:
    return items.join(
        {tensor: modules[tensor].bits.detach().reshape(-1).cpu().double().numpy() for tensor in items.tensors}
    )


def _epoch_line(problem: Problem, learner: Learner, epoch: int, step: int, losses: list[float]) -> str:
    parts = [f"epoch {epoch + 1}", f"step {step}", f"loss {np.mean(losses):.4f}"]
    for name, items, modules in (
        ("weight bits", problem.weights, learner.weights),
        ("activation bits", problem.activations, learner.activations),
    ):
        if items.tensors:
            parts.append(f"{name} {float(_mean_bits(items, modules).detach()):.3f}")
    return ", ".join(parts)


def _save(
    path: str | os.PathLike[str] | None,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    average: _Average,
    step: int,
) -> None:
    if path is None:
        return
    state = {
        "step": step,
        "log2_bits": [parameter.detach().cpu() for parameter in learner.parameters],
        "optimizer": optimizer.state_dict(),
        "sums": [total.cpu() for total in average.sums],
        "count": average.count,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _restore(
    path: str | os.PathLike[str] | None, learner: Learner, optimizer: torch.optim.Optimizer, average: _Average
) -> int:
    """Go on from a checkpoint; returns the steps already done."""
    if path is None or not Path(path).is_file():
        return 0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for parameter, saved in zip(learner.parameters, state["log2_bits"], strict=True):
            parameter.copy_(saved)
        for total, saved in zip(average.sums, state["sums"], strict=True):
            total.copy_(saved)
    average.count = int(state["count"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
