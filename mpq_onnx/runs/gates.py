"""Limits that a measured file is held to: what --min and --max compare, and when they fail."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mpq_onnx.errors import UsageError
from mpq_onnx.registries import RESOURCES
from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.part_figures import FIGURES, worst

SHARES = frozenset({"top1", "top5", "accuracy", "auroc", "agreement", "cosine", "spearman"})
"""Metrics that are 1 at best."""
PERCENT = 100
SIGNS = {(True, True): ">=", (True, False): "<", (False, True): "<=", (False, False): ">"}
"""By whether the limit is from below, and whether it is kept."""
FEWEST_DIGITS = 6


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


@dataclass(frozen=True)
class Verdict:
    """How a figure stands to a limit that was set on it."""

    metric: str
    value: float
    part: str | None
    """See Reached."""
    least: float | None
    """What it must reach; None where the limit is from above."""
    most: float | None
    """What it must not exceed."""
    passed: bool
    """NaN passes no limit."""

    def __str__(self) -> str:
        """`top1 0.873 < 0.9`, in as many digits as tell the two apart."""
        limit = self.least if self.least is not None else self.most
        assert limit is not None
        where = f" ({self.part})" if self.part is not None else ""
        if math.isnan(self.value):
            return f"{self.metric}{where} is NaN; wanted {limit:.12g}"
        sign = SIGNS[self.least is not None, self.passed]
        return f"{self.metric} {_digits(self.value, limit)} {sign} {limit:.12g}{where}"


def judged(
    evaluation: Evaluation,
    amounts: Mapping[str, float],
    minima: Sequence[tuple[str, float]],
    maxima: Sequence[tuple[str, float]],
) -> tuple[Verdict, ...]:
    """A verdict for every limit (metric, value), in order.

    Args:
        amounts: what has limits as metrics have: bytes of the file, resources.

    Raises:
        UsageError: a limit on what was not measured; lists what was.
    """
    figures = {**reached(evaluation), **{name: Reached(float(amount)) for name, amount in amounts.items()}}
    for option, limits in (("--min", minima), ("--max", maxima)):
        for metric, limit in limits:
            check_limit(option, metric, limit)
            if metric not in figures:
                raise UsageError(f"{option} {metric}: {_why_missing(metric, figures)}")
    from_below = [
        Verdict(metric, found.value, found.part, least, None, found.value >= least)
        for metric, least in minima
        for found in (figures[metric],)
    ]
    from_above = [
        Verdict(metric, found.value, found.part, None, most, found.value <= most)
        for metric, most in maxima
        for found in (figures[metric],)
    ]
    return (*from_below, *from_above)


def _why_missing(metric: str, figures: Collection[str]) -> str:
    if metric in RESOURCES and RESOURCES.keys().isdisjoint(figures):
        return (
            "is counted of widths that mpq-onnx allocated, and the file has none; inspect has the weights and MACs of a float"
            f" one. There is {', '.join(figures)}"
        )
    if metric in RESOURCES:
        return f"is counted where widths are allocated (result.json); of a file there is {', '.join(figures)}"
    hint = "" if "sqnr" in figures else "; --baseline adds sqnr, cosine and agreement"
    return f"not measured here; there is {', '.join(figures)}{hint}"


def check_goal(metric: str, least: float) -> None:
    """Raise UsageError for a value that no network reaches: a share above 1."""
    check_limit("--min", metric, least)


def check_limit(option: str, metric: str, limit: float) -> None:
    """Raise UsageError for a share above 1, which --min or --max, `option`, cannot mean."""
    hint = _share_hint(metric, limit)
    if hint:
        raise UsageError(
            f"{option} {metric}={limit:.12g}: {'cannot be reached' if option == '--min' else 'is no limit'}{hint}"
        )


def _share_hint(metric: str, limit: float) -> str:
    """What to write instead of a limit above 1 on a metric that has none above; nothing for others."""
    if limit <= 1 or metric.partition("-")[0] not in SHARES:
        return ""
    instead = f": write {metric}={limit / PERCENT:.12g} for {limit:.12g} %" if limit <= PERCENT else ""
    return f"; shares go from 0 to 1{instead}"


def _digits(value: float, limit: float) -> str:
    """A figure in as few digits, from six on, as tell it from a limit that it does not equal."""
    if value.is_integer():
        return f"{value:.0f}"
    texts = (f"{value:.{digits}g}" for digits in range(FEWEST_DIGITS, 18))
    return next((text for text in texts if value == limit or float(text) != limit), repr(value))
