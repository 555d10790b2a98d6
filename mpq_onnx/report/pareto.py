"""What a result costs, how good it is, and which results no other beats: the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

COSTS = {
    "mean_energy_per_mac": "energy per MAC",
    "bit_operations": "bit operations an example (BOPs)",
    "weight_bytes": "weights, bytes",
    "activation_bytes": "peak memory of activations, bytes",
}
"""Columns of rows that less is better of, with their names; a row says which others it has, under RESOURCES."""
UNITS = {"uj": "uJ", "nj": "nJ", "mj": "mJ", "pj": "pJ", "ms": "ms", "us": "us", "ns": "ns", "bytes": "bytes"}
"""By the end of a column's name."""
RESOURCES = "resources"
FRONTS = "fronts"
"""Of a row: the costs at which no other beats it."""
QUALITIES = ("top1", "accuracy", "auroc", "cosine", "spearman", "agreement", "output_sqnr")
"""Columns that more is better of; the first that there is counts."""


def quality_metric(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The first of QUALITIES that any row has."""
    return next((name for name in QUALITIES if any(row.get(name) is not None for row in rows)), None)


def _label(column: str) -> str:
    """`energy, uJ` for energy_uj."""
    name, _, unit = column.rpartition("_")
    return f"{name}, {UNITS[unit]}" if unit in UNITS else column.replace("_", " ")


def costs_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Columns that less is better of, with their names: those in which rows differ, or else the first that there is."""
    named = COSTS | {name: _label(name) for row in rows for name in row.get(RESOURCES) or ()}
    values = {
        cost: {row[cost] for row in rows if isinstance(row.get(cost), int | float) and row[cost]}
        for cost in named
    }
    found = [cost for cost in named if values[cost]]
    differing = [cost for cost in found if len(values[cost]) > 1]
    return {cost: named[cost] for cost in differing or found[:1]}


def mark_pareto(rows: Sequence[dict[str, Any]]) -> None:
    """Set row["fronts"], the costs at which no row that is as cheap is better, and row["pareto"], whether there are any."""
    for row in rows:
        row[FRONTS] = []
    for cost in costs_of(rows):
        points = sorted(
            (row[cost], -float(row[metric]), index)
            for index, row in enumerate(rows)
            if row.get(cost) is not None and (metric := quality_metric([row])) is not None
        )
        best = -math.inf
        for _, negative, index in points:
            if -negative > best:
                best = -negative
                rows[index][FRONTS].append(cost)
    for row in rows:
        row["pareto"] = bool(row[FRONTS])


def is_best(row: Mapping[str, Any], cost: str) -> bool:
    """No row that is as cheap is better; of a single run's candidates, what was kept."""
    return cost in row[FRONTS] if FRONTS in row else bool(row.get("pareto"))
