"""The examples that rounding and the correction of biases see: every rank has some of the batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mpq_onnx.ranks import ALONE, Ranks

Inputs = Sequence[Tensor]
"""The model's inputs in order, of one batch."""


@dataclass(frozen=True)
class RoundingData:
    """Batches of calibration data."""

    batches: Sequence[Inputs]
    """Of this rank."""
    places: Sequence[int]
    """Of each among the batches of all ranks, which alone decides what is drawn for it."""
    examples: int
    """Of all ranks."""
    whole: Callable[[], Sequence[Inputs]]
    """Makes the batches of all ranks, for what one of them does with all examples."""
    ranks: Ranks = ALONE
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @staticmethod
    def alone(batches: Sequence[Inputs]) -> "RoundingData":
        """Those of a single process, on the CPU."""
        examples = sum(len(batch[0]) for batch in batches)
        return RoundingData(batches, range(len(batches)), examples, lambda: batches)
