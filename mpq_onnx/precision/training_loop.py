"""The loop that every trained allocator runs: Adam on a handful of parameters, with checkpoints and a log.

The same seed gives the same parameters, interrupted or not.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
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
from mpq_onnx.ranks import ALONE, Ranks

CHECKPOINT_EVERY = 50
"""Steps."""
AVERAGED_SHARE = 0.5
"""The result is the mean over the last part of the steps: single steps of Adam jitter by the learning rate."""


@dataclass(frozen=True)
class Learning:
    """What is learned, and how good it is."""

    parameters: list[nn.Parameter]
    """Logarithms, averaged as such."""
    begin: Callable[[int, int], None]
    """Called before every part of a step's batch, with the numbers of both, which alone decide what is drawn for it."""
    loss: Callable[[TrainingBatch], Tensor]
    """Of a batch, or of a part of one."""
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
    examples_at_once: int
    """A larger batch goes through the network in parts; its gradient is their mean. Ranks share the parts."""
    checkpoint: str | None = None
    """File that the state is saved to, and gone on from when it exists."""

    @property
    def parts(self) -> int:
        """Of a batch: equally many for every rank, where it has as many examples."""
        examples, ranks = min(self.settings.batch_size, len(self.data)), self.data.ranks.count
        return min(-(-examples // (self.examples_at_once * ranks)) * ranks, examples)

    @property
    def own_parts(self) -> int:
        """Of this rank."""
        return len(self.data.ranks.own(range(self.parts)))


class DivergedError(ModelError):
    """Training ended in NaN or infinities."""


def train(learning: Learning, run: TrainingRun) -> None:
    """Train; the parameters end at their mean over the last part of the steps.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    settings, data = run.settings, run.data
    ranks = data.ranks
    optimizer = torch.optim.Adam(learning.parameters, lr=settings.learning_rate)
    average = _Average(learning.parameters, settings.steps)
    done = _restore(ranks.first(lambda: _load(run.checkpoint)), learning, optimizer, average)
    epoch_steps = max(len(data) // settings.batch_size, 1)
    losses: list[float] = []
    with counter(run.name, settings.steps, "step", done) as bar:
        parts = data.stream(_order(run, done, epoch_steps))
        for step in range(done, settings.steps):
            epoch, index = divmod(step, epoch_steps)
            own = itertools.islice(parts, run.own_parts)
            losses.append(training_step(learning, optimizer, own, step, ranks))
            if not math.isfinite(losses[-1]):
                raise DivergedError(
                    f"training diverged at step {step + 1}: the loss is {losses[-1]}; lower --learning-rate, or take --method"
                    " closed-form"
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
            if (step + 1) % CHECKPOINT_EVERY == 0 and ranks.is_first:
                _save(run.checkpoint, learning, optimizer, average, step + 1)
    average.apply()


def _order(run: TrainingRun, done: int, epoch_steps: int) -> Iterator[tuple[int, np.ndarray]]:
    """This rank's parts of the batch of every step that is left: their numbers and positions."""
    for step in range(done, run.settings.steps):
        epoch, index = divmod(step, epoch_steps)
        positions = run.data.shuffled(run.settings.batch_size, run.settings.seed, epoch)[index]
        yield from run.data.ranks.own([*enumerate(np.array_split(positions, run.parts))])


def training_step(
    learning: Learning,
    optimizer: torch.optim.Optimizer,
    parts: Iterable[TrainingBatch],
    step: int,
    ranks: Ranks = ALONE,
) -> float:
    """Forward, backward and update on one batch, given in parts, of which each rank has its own; returns the loss."""
    examples, total = 0, 0.0
    optimizer.zero_grad()
    for part in parts:
        learning.begin(step, part.place)
        loss = learning.loss(part) * part.examples
        loss.backward()
        examples, total = examples + part.examples, total + float(loss.detach())
    examples, total = (sum(each) for each in zip(*ranks.gather((examples, total)), strict=True))
    for parameter in learning.parameters:
        own = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        parameter.grad = ranks.sum(own) / examples
    optimizer.step()
    learning.clamp()
    return total / examples


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


def _load(path: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """The state that was saved, if there is one."""
    if path is None or not Path(path).is_file():
        return None
    # Each number goes to the device of what it belongs to, wherever it was saved.
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def _restore(
    state: dict[str, Any] | None,
    learning: Learning,
    optimizer: torch.optim.Optimizer,
    average: _Average,
) -> int:
    """Go on from a saved state; returns the steps already done."""
    if state is None:
        return 0
    with torch.no_grad():
        for parameter, saved in zip(learning.parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
        for total, saved in zip(average.sums, state["sums"], strict=True):
            total.copy_(saved)
    average.count = int(state["count"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
