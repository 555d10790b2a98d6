"""Which of the measured results is kept: one rule for widths and for energies, for every method, search and sweep.

Beside what the method asked for proposes, uniform at the same budget is always measured, on the same validation data. Kept is
the result nearest to the float model (mean distance of the outputs in the mirror) among those that are no worse than uniform in
either figure: that distance, and the SQNR of the worst output of the written file in onnxruntime. Uniform itself is one of
them, so that what is kept is never the worse of the two, however bad the method's proposals are.
"""

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from mpq_onnx.runtime.evaluation import Evaluation

FLOAT_NOISE = 1e-6
"""Distances below it are equal: log-probabilities near 1 are rounded to 1e-7 in float32."""


class Measured(Protocol):
    """One set of widths or energies, measured on the validation data."""

    @property
    def distance(self) -> float:
        """Mean distance of the outputs from the float model's (see task_loss.distance_from_float)."""

    @property
    def evaluation(self) -> Evaluation:
        """By onnxruntime, against the float model."""


Result = TypeVar("Result", bound=Measured)


def best_of(results: Sequence[Result]) -> Result:
    """The result to keep; the first is uniform at the budget. Of equals, the first."""
    limit = _shortfalls(results[0])
    eligible = [each for each in results if _no_worse(_shortfalls(each), limit)]
    return min(eligible or results[:1], key=_shortfalls)


def _shortfalls(result: Measured) -> tuple[float, float]:
    """(distance, -SQNR): less is better, what is no number is worst."""
    comparison = result.evaluation.comparison
    sqnr = comparison.output_sqnr if comparison is not None else None
    distance = math.inf if math.isnan(result.distance) else max(result.distance, FLOAT_NOISE)
    if sqnr is None:  # no output holds floats: the distance alone says
        return distance, 0.0
    return distance, math.inf if math.isnan(sqnr) else -sqnr


def _no_worse(found: tuple[float, float], limit: tuple[float, float]) -> bool:
    return all(one <= other for one, other in zip(found, limit, strict=True))
