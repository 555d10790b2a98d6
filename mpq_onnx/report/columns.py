"""How columns of results are shown: in which order, under which name, and all bytes, energies and times in one unit each."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpq_onnx.report.pareto import COSTS, RESOURCES, WIDTHS, quality_metric
from mpq_onnx.report.sweep_table import varied_options

Rows = Sequence[Mapping[str, Any]]

FAMILIES: tuple[dict[str, float], ...] = (
    {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    {"pJ": 1e-12, "nJ": 1e-9, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0},
    {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0},
    {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12},
)
"""Units that say the same, smallest first, with what one is worth."""
BY_SUFFIX = {
    "bytes": "B", "pj": "pJ", "nj": "nJ", "uj": "µJ", "mj": "mJ", "ns": "ns", "us": "µs", "ms": "ms", "operations": "",
}  # fmt: skip
"""The unit of a column by the end of its name."""
NAMES = {
    "weight_bytes": "weights", "activation_bytes": "peak activations", "bit_operations": "bit operations",
    "mean_energy_per_mac": "energy per MAC", "mean_weight_bits": "weight bits", "mean_activation_bits": "activation bits",
}  # fmt: skip
"""Of columns, without their units, where they are not called as they are written."""
IN_DECIBELS = frozenset({"output_sqnr"})
PLAIN_METRICS = frozenset({"cosine", "spearman", "auroc", "log_loss"})
"""Metrics that are no percentage."""
METRICS = (
    "top1", "top5", "accuracy", "auroc", "log_loss", "cosine", "spearman", "agreement", "output_sqnr",
)  # fmt: skip
LAST = ("kept", "peak_activation_bits", "unit", "error")
MAIN_COLUMNS = 6
"""After the run's own, shown before more are asked for."""


@dataclass(frozen=True)
class Column:
    """A column of results."""

    key: str
    label: str
    """With its unit."""
    factor: float = 1.0
    """What is shown is so many times what is stored."""
    interval: bool = False
    main: bool = False
    """Shown before more are asked for."""

    def shown(self, row: Mapping[str, Any], suffix: str = "") -> float | None:
        """The number of a row, or the end of its interval (`_low`, `_high`); None for what is none."""
        value = row.get(self.key + suffix)
        return value * self.factor if isinstance(value, int | float) and not isinstance(value, bool) else None


def columns_of(rows: Rows, swept: bool) -> list[Column]:
    """Quality first, then what it costs, then the rest."""
    metric, units = quality_metric(rows), _units(rows)
    costs = ["weight_bytes", *WIDTHS, *COSTS, *(name for row in rows for name in row.get(RESOURCES) or ())]
    others = [name for name in METRICS if name != metric]
    baseline = [name for row in rows for name in row if name.startswith("uniform_")]
    options = varied_options(rows) if swept else []
    order = dict.fromkeys([*filter(None, [metric]), *costs, *options, *others, *LAST, *baseline])
    found = [_column(name, rows, units) for name in order if any(row.get(name) is not None for row in rows)]
    main = [
        column.key for column in found if column.key in {metric, *costs} and _has_several(rows, column.key)
    ]
    kept = {*main[:MAIN_COLUMNS], metric, "error"}
    return [Column(each.key, each.label, each.factor, each.interval, main=each.key in kept) for each in found]


def column_of(key: str, rows: Rows) -> Column:
    """One of them."""
    return _column(key, rows, _units(rows))


def _has_several(rows: Rows, key: str) -> bool:
    return len(rows) == 1 or len({row.get(key) for row in rows}) > 1


def _column(key: str, rows: Rows, units: Mapping[str, str]) -> Column:
    bare = key.removeprefix("uniform_whole_").removeprefix("uniform_").removeprefix("validation_")
    prefix = key[: len(key) - len(bare)].replace("_", " ")
    interval = any(f"{key}_low" in row for row in rows)
    if bare in METRICS:
        return _metric_column(key, prefix, bare, interval)
    stored = _stored_unit(bare)
    shown = "" if stored is None else units[stored]
    name = NAMES.get(bare) or bare.removesuffix(f"_{bare.rpartition('_')[2]}" if shown else "").replace(
        "_", " "
    )
    if bare == "mean_energy_per_mac":
        found = {str(row["unit"]) for row in rows if row.get("unit")}
        shown = found.pop() if len(found) == 1 else ""
    factor = 1.0 if stored is None else _worth(stored) / _worth(shown)
    return Column(key, f"{prefix}{name}{', ' if shown else ''}{shown}", factor)


def _metric_column(key: str, prefix: str, metric: str, interval: bool) -> Column:
    name = prefix + metric.replace("top", "top-").replace("sqnr", "SQNR").replace("_", " ")
    if metric in IN_DECIBELS:
        return Column(key, f"{name}, dB", interval=interval)
    if metric in PLAIN_METRICS:
        return Column(key, name, interval=interval)
    return Column(key, f"{name}, %", 100.0, interval)


def _stored_unit(column: str) -> str | None:
    return BY_SUFFIX.get(column.rpartition("_")[2])


def _family(unit: str) -> dict[str, float]:
    return next(family for family in FAMILIES if unit in family)


def _worth(unit: str) -> float:
    return _family(unit)[unit]


def _units(rows: Rows) -> dict[str, str]:
    """By the unit in which a column is stored, the one in which it is shown: the largest in which all of its kind reach 1."""
    largest: dict[str, float] = {}
    for name in dict.fromkeys(itertools.chain.from_iterable(rows)):
        if _stored_unit(name) is not None:
            most = max(_numbers(row.get(name) for row in rows), default=0)
            if most > 0:
                largest[name] = most * _worth(str(_stored_unit(name)))
    chosen = {}
    for unit in BY_SUFFIX.values():
        family = _family(unit)
        mosts = [most for name, most in largest.items() if str(_stored_unit(name)) in family]
        fitting = [each for each, worth in family.items() if mosts and min(mosts) >= worth]
        chosen[unit] = fitting[-1] if fitting else next(iter(family)) if mosts else unit
    return chosen


def _numbers(values: Iterable[Any]) -> Iterable[float]:
    return (value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
