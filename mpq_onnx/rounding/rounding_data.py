"""The examples that rounding and the correction of biases see: every rank has its share of each batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """Of each among the batches of all ranks: what is drawn for a batch is drawn alike by all who have a share of it."""
    whole: Callable[[], Sequence[Inputs]]
    """Makes the batches of all ranks, for what one of them does with all examples."""
    ranks: Ranks = ALONE

    @staticmethod
    def alone(batches: Sequence[Inputs]) -> "RoundingData":
        """Those of a single process."""
        return RoundingData(batches, range(len(batches)), lambda: batches)
