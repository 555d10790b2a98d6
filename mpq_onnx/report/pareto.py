"""What a result costs, how good it is, and which results no other beats: the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

COSTS = {"mean_energy_per_mac": "energy per MAC", "bit_operations": "bit operations an example (BOPs)"}
"""Columns of a sweep's rows that less is better of, with their names."""
QUALITIES = ("top1", "accuracy", "auroc", "cosine", "spearman", "agreement", "output_sqnr")
"""Columns that more is better of; the first that there is counts."""


def quality_metric(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The first of QUALITIES that any row has."""
    return next((name for name in QUALITIES if any(row.get(name) is not None for row in rows)), None)


def mark_pareto(rows: Sequence[dict[str, Any]]) -> None:
    """Set row["pareto"]: no row that is as cheap is better."""
    for row in rows:
        row["pareto"] = False
    for cost in COSTS:
        points = sorted(
            (row[cost], -float(row[metric]), index)
            for index, row in enumerate(rows)
            if row.get(cost) is not None and (metric := quality_metric([row])) is not None
        )
        best = -math.inf
        for _, negative, index in points:
            if -negative > best:
                best = -negative
                rows[index]["pareto"] = True
