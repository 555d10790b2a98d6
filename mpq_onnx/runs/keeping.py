"""Which of the measured results is kept: one rule for widths and for energies, for every method, search and sweep.

Beside what the method asked for proposes, uniform at the same budget is always measured, on the same validation data. Kept is
the result nearest to the float model (mean distance of the outputs) among those that are no worse than uniform:
not further away, and not worse by the SQNR of the worst output of the written file in onnxruntime. Networks that choose among
classes are held to their distance, the divergence of their choices; their logits may have up to half of uniform's SQNR.
Uniform itself is one of them wherever its levels can be stored, so that what is kept is never the worse of the two.
"""

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from mpq_onnx.arithmetic.quantization import levels_of, stored_bits
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runtime.evaluation import Evaluation

FLOAT_NOISE = 1e-6
"""Distances below it are equal: log-probabilities near 1 are rounded to 1e-7 in float32."""
HALF = 10 * math.log10(2)
"""Decibels."""


class Measured(Protocol):
    """One set of widths or energies, measured on the validation data."""

    @property
    def distance(self) -> float:
        """Mean distance of the outputs from the float model's (see task_loss.distance_from_float)."""

    @property
    def evaluation(self) -> Evaluation:
        """By onnxruntime, against the float model."""


Result = TypeVar("Result", bound=Measured)


def best_of(uniform: Result, results: Sequence[Result]) -> Result:
    """The one of `results` to keep beside `uniform`, which is one of them where it can be kept. Of equals, the first."""
    distance, shortfall = _shortfalls(uniform)
    limit = distance, shortfall + (HALF if _chooses_classes(uniform) else 0.0)
    eligible = [each for each in results if _no_worse(_shortfalls(each), limit)]
    return min(eligible or results, key=_shortfalls)


def _chooses_classes(result: Measured) -> bool:
    comparison = result.evaluation.comparison
    return comparison is not None and comparison.agreement is not None


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


def is_storable(allocation: Allocation, options: AllocateOptions) -> bool:
    """Every width takes as many whole bits as one of the choices."""
    return all(
        {stored_bits(levels_of(width)) for width in widths}
        <= {stored_bits(levels_of(each)) for each in choices}
        for _, widths, choices in chosen_widths(allocation, options)
    )


def chosen_widths(
    allocation: Allocation, options: AllocateOptions
) -> list[tuple[str, set[float], tuple[float, ...]]]:
    """(name of the choices, widths that were chosen, the choices) of weights and activations."""
    nodes = allocation.nodes
    weights = {
        width for node in nodes if node.weight_counted for width in np.atleast_1d(node.weight_bits or ())
    }
    activations = {node.activation_bits for node in nodes if node.activation_counted and node.activation_bits}
    return [
        ("bit-choices", weights, options.all_weight_choices),
        ("activation-bit-choices", activations, options.all_activation_choices),
    ]
