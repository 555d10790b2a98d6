"""Limits that a measured file is held to: what --min and --max compare, and when they fail."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mpq_onnx.errors import UsageError
from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.part_figures import FIGURES, worst


@dataclass(frozen=True)
class Reached:
    """A figure that a limit may be set on."""

    value: float
    part: str | None = None
    """Of several parts of the outputs the one that it is of, the worst."""


def reached(evaluation: Evaluation) -> dict[str, Reached]:
    """All figures of an evaluation by the name that a limit gives them.

    sqnr (decibels), cosine and agreement are those of the worst part of the outputs; agreement of the predictions, where
    outputs stand for classes.
    """
    found: dict[str, Reached] = {}
    comparison = evaluation.comparison
    if comparison is not None:
        for figure in FIGURES:
            least = worst(comparison.parts, figure)
            if least is not None:
                found[figure] = Reached(least[0].value, least[1] if len(comparison.parts) > 1 else None)
        if comparison.agreement is not None and "agreement" not in found:
            found["agreement"] = Reached(comparison.agreement.value)
    metrics = {
        name: Reached(estimate.value) for name, estimate in evaluation.metrics.items() if name not in found
    }
    return {**metrics, **found}


def failures(
    figures: dict[str, Reached],
    minima: Sequence[tuple[str, float]],
    maxima: Sequence[tuple[str, float]],
) -> list[str]:
    """A line for every limit (metric, value) that is missed; NaN misses every limit.

    Raises:
        UsageError: a limit on what was not measured; lists what was.
    """
    for option, limits in (("--min", minima), ("--max", maxima)):
        for metric, _ in limits:
            if metric not in figures:
                hint = "" if "sqnr" in figures else "; --baseline adds sqnr, cosine and agreement"
                raise UsageError(f"{option} {metric}: not measured here; there is {', '.join(figures)}{hint}")
    missed = [(metric, "<", limit) for metric, limit in minima if not figures[metric].value >= limit]
    missed += [(metric, ">", limit) for metric, limit in maxima if not figures[metric].value <= limit]
    return [_line(metric, figures[metric], sign, limit) for metric, sign, limit in missed]


def _line(metric: str, figure: Reached, sign: str, limit: float) -> str:
    where = f" ({figure.part})" if figure.part is not None else ""
    if math.isnan(figure.value):
        return f"{metric}{where} is NaN; wanted {limit:.6g}"
    return f"{metric} {figure.value:.6g} {sign} {limit:.6g}{where}"
