"""How a search finds the smallest budget that keeps its goals: probes, and where the next ones lie."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.files import write_text
from mpq_onnx.runs.declared import check_is_number
from mpq_onnx.runs.gates import reached as figures_of
from mpq_onnx.runs.goals import Drop, Goal
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.results import MODEL_FILE
from mpq_onnx.runtime.evaluation import Evaluation

TOLERANCE = 0.02
PROBES_FOLDER = "probes"
PROBE_FILE = "probe.json"
SEARCH_FILE = "search.json"


@dataclass(frozen=True)
class Probe:
    """One budget that was tried."""

    budget: float
    metrics: dict[str, float]
    """Means over the repeats, on the test data."""
    reached: bool


@dataclass(frozen=True)
class SearchResult(Result):
    """What a search ended with."""

    folder: str
    best: Probe | None
    """The smallest budget that reached the goal; None where even the largest did not."""
    probes: tuple[Probe, ...]
    """In the order of the budgets."""
    model_path: str | None
    """The file of the best probe."""

    DRAWN = "budget", "value"

    @property
    def title(self) -> str:
        """The smallest budget, where one was found."""
        return (
            "goal not reached"
            if self.best is None
            else f"smallest budget that reaches the goal: {self.best.budget:g}"
        )

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a probe; `value` is that of its first metric."""
        return [
            {
                "budget": each.budget,
                "reached": each.reached,
                "value": next(iter(each.metrics.values()), None),
                **each.metrics,
            }
            for each in self.probes
        ]


@dataclass(frozen=True)
class Interval:
    """Budgets to search between, and how close to come."""

    low: float
    high: float
    tolerance: float = TOLERANCE
    """Relative: the search ends when the budgets that reach and miss the goal are this close."""

    def __post_init__(self) -> None:
        for name in ("low", "high", "tolerance"):
            check_is_number(name, getattr(self, name))
        if not 0 < self.low < self.high < math.inf:
            raise UsageError(f"budgets from {self.low:g} to {self.high:g}: give 0 < low < high")
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance {self.tolerance:g}: give a number between 0 and 1")


Figures = dict[str, dict[str, float]]
"""`metrics` of a probe and of its `baseline`, by name."""


class Prober(Protocol):
    """Does the probes."""

    @property
    def at_once(self) -> int:
        """How many it does side by side."""

    def measure(self, budgets: Sequence[float]) -> Iterator[tuple[float, Figures]]:
        """What each budget reaches, as it is known; the probe's files are in its folder then."""


def probe_folder(folder: Path, budget: float) -> Path:
    """Where a probe's files are."""
    return folder / PROBES_FOLDER / f"{budget:.6g}"


def figures(measured: Evaluation, goals: tuple[Goal | Drop, ...]) -> Figures:
    """What is kept of a probe's evaluation."""
    wanted = {*measured.metrics, *(goal.metric for goal in goals)}
    compared = measured.comparison.metrics if measured.comparison is not None else {}
    return {
        "metrics": {name: each.value for name, each in figures_of(measured).items() if name in wanted},
        "baseline": {name: each.value for name, each in compared.items()},
    }


def find_smallest(
    folder: Path, prober: Prober, goals: tuple[Goal | Drop, ...], interval: Interval
) -> SearchResult:
    """Narrow the interval, by as many probes at once as the prober does: by one, that is bisection.

    Every step takes the lowest budget that reached the goals and the next one below it, which did not.
    """
    tried = _Tried(folder, prober, goals)
    low, high = interval.low, interval.high
    ends = [high] if prober.at_once == 1 else [high, low]
    tried.probe([*ends, *_between(low, high, prober.at_once - 2, interval.tolerance)])
    if tried.probes[high].reached:
        tried.probe([low])
        low, high = tried.narrowed(low, high)
        while high / low > 1 + interval.tolerance:
            inside = _between(low, high, prober.at_once, interval.tolerance)
            if not inside:  # nearer than budgets are told apart
                break
            tried.probe(inside)
            low, high = tried.narrowed(low, high)
    ordered = tuple(tried.probes[budget] for budget in sorted(tried.probes))
    best = next((each for each in ordered if each.budget == high and each.reached), None)
    path = str(probe_folder(folder, best.budget) / MODEL_FILE) if best is not None else None
    result = SearchResult(str(folder), best, ordered, path)
    in_file = dataclasses.replace(
        result, folder=".", model_path=None if path is None else Path(path).relative_to(folder).as_posix()
    )
    write_text(folder / SEARCH_FILE, json.dumps(dataclasses.asdict(in_file), indent=1) + "\n")
    return result


def _between(low: float, high: float, most: int, tolerance: float) -> list[float]:
    """At most so many budgets that part an interval evenly in their logarithms, and no finer than is asked for."""
    needed = math.ceil(math.log(high / low) / math.log1p(tolerance)) - 1
    parts = min(most, max(needed, 1)) + 1
    found = (float(f"{low * (high / low) ** (part / parts):.6g}") for part in range(1, parts))
    return [budget for budget in dict.fromkeys(found) if low < budget < high]


class _Tried:
    """The probes of a search, of earlier ones of the same folder too."""

    def __init__(self, folder: Path, prober: Prober, goals: tuple[Goal | Drop, ...]) -> None:
        self.folder, self.prober, self.goals = folder, prober, goals
        self.probes: dict[float, Probe] = {}

    def probe(self, budgets: Sequence[float]) -> None:
        """Know what these reach."""
        missing = []
        for budget in (each for each in budgets if each not in self.probes):
            kept = probe_folder(self.folder, budget) / PROBE_FILE
            if kept.is_file():
                self._take(budget, json.loads(kept.read_text(encoding="utf-8")))
            else:
                missing.append(budget)
        for budget, found in self.prober.measure(missing) if missing else ():
            kept = probe_folder(self.folder, budget) / PROBE_FILE
            write_text(kept, json.dumps({"budget": budget, **found}) + "\n")
            self._take(budget, found)

    def _take(self, budget: float, found: Mapping[str, Any]) -> None:
        metrics, baseline = found["metrics"], found.get("baseline", {})
        for goal in self.goals:
            if goal.metric not in metrics:
                raise DataError(f"{goal.metric}: not measured here; there is {', '.join(metrics)}")
        reached = all(goal.is_reached(metrics, baseline) for goal in self.goals)
        self.probes[budget] = Probe(budget, metrics, reached)

    def narrowed(self, low: float, high: float) -> tuple[float, float]:
        """The lowest budget between two that reached the goals, and the next below it; equal where that is `low`."""
        inside = sorted(budget for budget in self.probes if low <= budget <= high)
        reached = next(place for place, budget in enumerate(inside) if self.probes[budget].reached)
        return inside[max(reached - 1, 0)], inside[reached]
