"""What every tool is asked in a process of its own: quantize a network on these examples, then give its outputs on those.

python TOOL.py MODEL TRAIN.npy TEST.npy OUTPUTS.npy --weight-bits 4 --activation-bits 8 [--iterations 1000]
"""

import argparse
import json
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BATCH = 16

Forward = Callable[[np.ndarray], np.ndarray]
"""From a batch of inputs to the outputs."""


@dataclass(frozen=True)
class PieceOfWork:
    """One network at one budget."""

    model: Path
    """Float, with one input and one output."""
    train: np.ndarray
    """[examples, ...] as the model reads them."""
    weight_bits: float
    activation_bits: int
    iterations: int
    """Of learning a layer's rounding, where the tool learns it so."""

    @property
    def batches(self) -> list[np.ndarray]:
        """Of the examples to calibrate on."""
        return [np.array(self.train[start : start + BATCH]) for start in range(0, len(self.train), BATCH)]


def carry_out(quantize: Callable[[PieceOfWork], Forward]) -> None:
    """Read the command line, quantize, write the outputs of the test examples and print what quantizing took."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "train", "test", "outputs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--weight-bits", type=float, required=True)
    parser.add_argument("--activation-bits", type=int, required=True)
    parser.add_argument("--iterations", type=int, default=1000)
    given = parser.parse_args()
    train, test = (np.load(each, mmap_mode="r") for each in (given.train, given.test))
    work = PieceOfWork(given.model, train, given.weight_bits, given.activation_bits, given.iterations)
    forward = quantize(work)
    used = resource.getrusage(resource.RUSAGE_SELF)
    outputs = [forward(np.array(test[start : start + BATCH])) for start in range(0, len(test), BATCH)]
    np.save(given.outputs, np.concatenate(outputs))
    print(
        json.dumps({"seconds": used.ru_utime + used.ru_stime, "gigabytes": used.ru_maxrss * 1024 / 1e9}),
        flush=True,
    )
