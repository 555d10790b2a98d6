"""The table of a sweep: a line a run."""

import itertools
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from mpq_onnx.report.tables import MISSING


def sweep_table(rows: Sequence[Mapping[str, object]]) -> str:
    """A line a run: the options in which the runs differ, and what each reaches."""
    found = [
        "kept", "mean_weight_bits", "mean_activation_bits", "bit_operations", "mean_energy_per_mac", "top1", "accuracy",
        "auroc", "agreement", "output_sqnr", "error",
    ]  # fmt: skip
    limited = [name for row in rows for name in _limited(row)]
    results = [
        name for name in dict.fromkeys([*found, *limited]) if any(row.get(name) is not None for row in rows)
    ]
    columns = [*varied_options(rows), *results]
    lines = [
        [str(row["run"]) + (" *" if row.get("pareto") else ""), *(_cell(row.get(name)) for name in columns)]
        for row in rows
    ]
    return tabulate(lines, ["run", *(name.replace("_", " ") for name in columns)], disable_numparse=True)


def _limited(row: Mapping[str, object]) -> list[str]:
    """Resources that --max of a run bounds."""
    limits = row.get("max")
    return [str(each).partition("=")[0] for each in limits] if isinstance(limits, list) else []


def varied_options(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The options that come before a row's results and are not the same in all rows."""
    options = list(
        dict.fromkeys(name for row in rows for name in itertools.takewhile(lambda each: each != "kept", row))
    )
    return [
        name
        for name in options
        if name not in ("run", "error") and len({str(row.get(name)) for row in rows}) > 1
    ]


def _cell(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)
