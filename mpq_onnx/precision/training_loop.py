"""The loop that every trained allocator runs: Adam on a handful of parameters, with checkpoints and a log.

The same seed gives the same parameters, interrupted or not.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.errors import ModelError
from mpq_onnx.files import replacing
from mpq_onnx.precision.training_data import TrainingBatch, TrainingData
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.progress import counter

CHECKPOINT_EVERY = 50
"""Steps."""
AVERAGED_SHARE = 0.5
"""The result is the mean over the last part of the steps: single steps of Adam jitter by the learning rate."""


@dataclass(frozen=True)
class Learning:
    """What is learned, and how good it is."""

    parameters: list[nn.Parameter]
    """Logarithms, averaged as such."""
    loss: Callable[[TrainingBatch, int], Tensor]
    """Of a batch, in a step of the given number."""
    clamp: Callable[[], None]
    """Brings the parameters back into what is allowed, after every step."""
    describe: Callable[[], str]
    """The state of the learning in a few words."""


@dataclass(frozen=True)
class TrainingRun:
    """How it is learned."""

    name: str
    """For the progress bar."""
    settings: TrainingSettings
    data: TrainingData
    log: Any
    """A logger that takes a line an epoch."""
    checkpoint: str | None = None
    """File that the state is saved to, and gone on from when it exists."""


def train(learning: Learning, run: TrainingRun) -> None:
    """Train; the parameters end at their mean over the last part of the steps.

    Raises:
        ModelError: the loss became NaN or infinite.
    """
    settings, data = run.settings, run.data
    optimizer = torch.optim.Adam(learning.parameters, lr=settings.learning_rate)
    average = _Average(learning.parameters, settings.steps)
    done = _restore(run.checkpoint, learning, optimizer, average)
    epoch_steps = max(len(data) // settings.batch_size, 1)
    losses: list[float] = []
    with counter(run.name, settings.steps, "step", done) as bar:
        for step, batch in enumerate(data.stream(_order(run, done, epoch_steps)), done):
            epoch, index = divmod(step, epoch_steps)
            losses.append(training_step(learning, optimizer, batch, step))
            if not math.isfinite(losses[-1]):
                raise ModelError(
                    f"training diverged at step {step + 1}: the loss is {losses[-1]}; lower --learning-rate"
                )
            average.update(step)
            bar.update()
            if index == epoch_steps - 1 or step == settings.steps - 1:
                line = (
                    f"epoch {epoch + 1}, step {step + 1}, loss {np.mean(losses):.4g}, {learning.describe()}"
                )
                run.log.info(line)
                bar.set_postfix_str(line)
                losses = []
            if (step + 1) % CHECKPOINT_EVERY == 0:
                _save(run.checkpoint, learning, optimizer, average, step + 1)
    average.apply()


def _order(run: TrainingRun, done: int, epoch_steps: int) -> Iterator[np.ndarray]:
    """Positions of the batch of every step that is left."""
    for step in range(done, run.settings.steps):
        epoch, index = divmod(step, epoch_steps)
        yield run.data.shuffled(run.settings.batch_size, run.settings.seed, epoch)[index]


def training_step(
    learning: Learning, optimizer: torch.optim.Optimizer, batch: TrainingBatch, step: int
) -> float:
    """Forward, backward and update on one batch; returns the loss."""
    optimizer.zero_grad()
    loss = learning.loss(batch, step)
    loss.backward()
    optimizer.step()
    learning.clamp()
    return float(loss.detach())


class _Average:
    """Mean of the parameters over the last part of the training."""

    def __init__(self, parameters: list[nn.Parameter], steps: int) -> None:
        self.parameters = parameters
        self.first = int(steps * (1 - AVERAGED_SHARE))
        self.count = 0
        self.sums = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        if step >= self.first:
            self.count += 1
            for total, parameter in zip(self.sums, self.parameters, strict=True):
                total += parameter

    @torch.no_grad()
    def apply(self) -> None:
        """Set the parameters to their mean."""
        if self.count:
            for total, parameter in zip(self.sums, self.parameters, strict=True):
                parameter.copy_(total / self.count)


def _save(
    path: str | os.PathLike[str] | None,
    learning: Learning,
    optimizer: torch.optim.Optimizer,
    average: _Average,
    step: int,
) -> None:
    if path is None:
        return
    state = {
        "step": step,
        "parameters": [parameter.detach().cpu() for parameter in learning.parameters],
        "optimizer": optimizer.state_dict(),
        "sums": [total.cpu() for total in average.sums],
        "count": average.count,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _restore(
    path: str | os.PathLike[str] | None,
    learning: Learning,
    optimizer: torch.optim.Optimizer,
    average: _Average,
) -> int:
    """Go on from a checkpoint; returns the steps already done."""
    if path is None or not Path(path).is_file():
        return 0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for parameter, saved in zip(learning.parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
        for total, saved in zip(average.sums, state["sums"], strict=True):
            total.copy_(saved)
    average.count = int(state["count"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
