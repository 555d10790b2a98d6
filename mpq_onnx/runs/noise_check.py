"""Is the noise in the file the noise that was trained with? onnxruntime's against the mirror's, at the outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.errors import ModelError

MOST_ERRORS = 6.0
"""Standard errors of the difference between the two; a check of equals goes beyond it once in 10,000."""
LEAST_DIFFERENCE = 1.0
"""Decibels below which nothing is said: more examples would find any difference."""


@dataclass(frozen=True)
class OutputNoise:
    """What noise does to the outputs."""

    decibels: float
    """Of the outputs over their noise, all examples."""
    powers: tuple[float, ...]
    """Sum of the squared noise, batch by batch of the same examples."""


@dataclass(frozen=True)
class NoiseCheck:
    """How well onnxruntime and the mirror agree on the noise at the outputs (two independent draws)."""

    examples: int
    draws: int
    """More than examples where these are few: they are gone through again, with other noise."""
    onnxruntime_sqnr: float
    """Decibels of the noisy outputs against the noise-free ones."""
    mirror_sqnr: float


def check_noise(examples: int, draws: int, found: OutputNoise, wanted: OutputNoise) -> NoiseCheck:
    """The check; `found` is onnxruntime's, `wanted` the mirror's.

    Raises:
        ModelError: the two differ by more than independent draws of the same noise do.
    """
    apart = abs(found.decibels - wanted.decibels)
    if apart > LEAST_DIFFERENCE and _errors(found.powers, wanted.powers) > MOST_ERRORS:
        raise ModelError(
            f"the noisy graph fails its check: its outputs have {found.decibels:.1f} dB in onnxruntime and"
            f" {wanted.decibels:.1f} dB in the mirror, which independent draws do not explain; please report this model"
        )
    return NoiseCheck(examples, draws, found.decibels, wanted.decibels)


def _errors(first: Sequence[float], second: Sequence[float]) -> float:
    """The mean difference between paired batches in its standard errors."""
    differences = np.subtract(first, second)
    if len(differences) < 2 or not np.isfinite(differences).all() or not differences.any():
        return 0.0
    return float(abs(differences.mean()) / (differences.std(ddof=1) / np.sqrt(len(differences))))
