"""What a result costs, how good it is, and which results no other beats: the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

COSTS = ("mean_energy_per_mac", "bit_operations", "weight_bytes", "activation_bytes")
"""Columns of rows that less is better of; a row says which others it has, under RESOURCES."""
WIDTHS = ("mean_weight_bits", "mean_activation_bits")
"""Columns that less is better of, too, but that no device counts."""
RESOURCES = "resources"
FRONTS = "fronts"
"""Of a row: the costs at which no other beats it."""
QUALITIES = ("top1", "accuracy", "auroc", "cosine", "spearman", "agreement", "output_sqnr")
"""Columns that more is better of; the first that there is counts."""
BITS = "bits"


def quality_metric(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The first of QUALITIES that any row has."""
    return next((name for name in QUALITIES if any(row.get(name) is not None for row in rows)), None)


def noises_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the noise models of a row; none for a digital one."""
    found = row.get("noise") or ()
    return (found,) if isinstance(found, str) else tuple(map(str, found))


def kinds_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Places of the rows that can be held against each other: bits by themselves, and energies by what noise they buy off."""
    found: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        noises = noises_of(row)
        found.setdefault(f"{' + '.join(noises)} noise" if noises else BITS, []).append(index)
    return found


def costs_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns that less is better of: those in which rows differ, or else the first that there is."""
    named = [*dict.fromkeys([*COSTS, *(name for row in rows for name in row.get(RESOURCES) or ())])]
    values = {name: _values(rows, name) for name in named}
    found = [name for name in named if values[name]]
    differing = [name for name in found if len(values[name]) > 1]
    return differing or found[:1]


def axes_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What quality can be drawn against: bytes first, then the other costs, then mean widths."""
    costs = sorted(costs_of(rows), key=lambda name: name != "weight_bytes")
    return [*costs, *(name for name in WIDTHS if len(_values(rows, name)) > 1)]


def _values(rows: Sequence[Mapping[str, Any]], column: str) -> set[float]:
    return {row[column] for row in rows if isinstance(row.get(column), int | float) and row[column]}


def front_of(rows: Sequence[Mapping[str, Any]], cost: str) -> set[int]:
    """Places of the rows of which no row that is as cheap is better."""
    points = sorted(
        (row[cost], -float(row[metric]), index)
        for index, row in enumerate(rows)
        if row.get(cost) is not None and (metric := quality_metric([row])) is not None
    )
    best, at, found = -math.inf, math.inf, set()
    for amount, negative, index in points:
        if -negative > best or (amount, -negative) == (at, best):  # equals are both on it
            at, best = amount, -negative
            found.add(index)
    return found


def mark_pareto(rows: Sequence[dict[str, Any]]) -> None:
    """Set row["fronts"], the costs at which no row that is as cheap is better, and row["pareto"], whether there are any."""
    for row in rows:
        row[FRONTS] = []
    for places in kinds_of(rows).values():
        some = [rows[place] for place in places]
        for cost in costs_of(some):
            for index in sorted(front_of(some, cost)):
                some[index][FRONTS].append(cost)
    for row in rows:
        row["pareto"] = bool(row[FRONTS])
