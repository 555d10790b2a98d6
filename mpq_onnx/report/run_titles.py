"""What a run is, in words: "W3 A8, by channel, 91.4 %"."""

from collections.abc import Mapping, Sequence
from typing import Any

from mpq_onnx.report.columns import PLAIN_METRICS
from mpq_onnx.report.pareto import noises_of, quality_metric
from mpq_onnx.report.sweep_table import varied_options

NO_BREAK = "\N{NO-BREAK SPACE}"
TOLD = frozenset(
    {
        "weight_bits", "activation_bits", "energy_per_mac", "noise", "granularity", "per_channel", "max", "repeats", "unit",
        "data", "validation", "test",
    }
)  # fmt: skip
"""Options that a title has words for, or that say nothing of the file."""
BARE = frozenset({"method", "rounding", "target", "storage", "effort"})
"""Options whose value says enough."""


def run_titles(rows: Sequence[Mapping[str, Any]], swept: bool) -> list[str]:
    """One a row; options that the rows differ in are named, and the number of the run where two would be called alike."""
    varied = varied_options(rows) if swept else ["method"]
    named = [(row, ", ".join(_parts(row, varied))) for row in rows]
    words = [text for _, text in named]
    return [
        ", ".join(filter(None, (text, f"run {row['run']}" if words.count(text) > 1 else "", _reached(row))))
        for row, text in named
    ]


def _parts(row: Mapping[str, Any], varied: Sequence[str]) -> list[str]:
    parts = [_widths(row), _energy(row)]
    limits = row.get("max")
    if isinstance(limits, list) and limits:
        parts.append(" and ".join(str(limit).replace("=", " ≤ ", 1) for limit in limits))
    if row.get("granularity") == "channel" and not (noises_of(row) and not _widths(row)):
        parts.append("by channel")
    elif "granularity" in varied and row.get("granularity") is not None:
        parts.append(f"by {row['granularity']}")
    if row.get("per_channel"):
        parts.append("energies by channel")
    for name in varied:
        value = row.get(name)
        if name in TOLD or value is None or value == []:
            continue
        parts.append(_option(name, value))
    return [part for part in parts if part] or [str(row.get("run"))]


def _option(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if name in BARE else f"{words} {text}"


def _widths(row: Mapping[str, Any]) -> str:
    found = []
    for letter, asked, mean in (
        ("W", "weight_bits", "mean_weight_bits"),
        ("A", "activation_bits", "mean_activation_bits"),
    ):
        bits = row.get(asked) if row.get(asked) is not None else row.get(mean)
        if isinstance(bits, int | float):
            found.append(f"{letter}{round(bits, 2):g}")
    return " ".join(found)


def _energy(row: Mapping[str, Any]) -> str:
    noises = noises_of(row)
    if not noises:
        return ""
    asked = (
        row.get("energy_per_mac") if row.get("energy_per_mac") is not None else row.get("mean_energy_per_mac")
    )
    amount = f" {asked:.4g}" if isinstance(asked, int | float) else ""
    unit = "" if row.get("unit") in (None, "relative") else f" {row['unit']}"
    return f"{' + '.join(noises)} noise{f', energy{amount}' if not unit else f',{amount}{unit}'} a MAC"


def _reached(row: Mapping[str, Any]) -> str:
    """Its quality."""
    metric = quality_metric([row])
    if metric is None:
        return "failed" if row.get("error") else ""
    value = float(row[metric])
    if metric == "output_sqnr":
        return f"{value:.1f}{NO_BREAK}dB"
    return f"{metric} {value:.4f}" if metric in PLAIN_METRICS else f"{100 * value:.1f}{NO_BREAK}%"
