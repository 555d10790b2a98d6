"""Terminal tables."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from tabulate import tabulate

from mpq_onnx.arithmetic.noise.units import attojoules
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation, NodeEnergy
from mpq_onnx.documents.node_precision import NodePrecision
from mpq_onnx.runtime.comparison import NodeNoise
from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.noise_ratios import NodeSignalToNoise
from mpq_onnx.runtime.part_figures import NOT_COMPARED, PartFigures
from mpq_onnx.runtime.statistics import Difference, Estimate, Spread

MISSING = "-"
CELL_WIDTH = 48
"""Characters of a card's fields side by side."""
PLAIN = frozenset({"log_loss", "cosine", "spearman", "sqnr"})
"""Metrics that are no percentage."""


def node_table(allocation: Allocation, noises: Iterable[NodeNoise]) -> str:
    """A line a node: widths, sizes, and how well its output survives."""
    sqnr = {noise.tensor: noise.sqnr for noise in noises}
    by_node = {noise.node: noise.sqnr for noise in noises}
    rows = [
        [
            node.node,
            node.op_type,
            weight_width(node),
            MISSING if node.activation_bits is None else f"{node.activation_bits:g}",
            node.weight_elements or MISSING,
            node.macs or MISSING,
            _decibels(sqnr.get(node.activation or "", by_node.get(node.node))),
        ]
        for node in allocation.nodes
    ]
    headers = ["node", "op", "weight bits", "activation bits", "weights", "MACs", "SQNR dB"]
    return _table(rows, headers, texts=2)


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str], texts: int) -> str:
    """A table without the columns that no row has anything in; the first `texts` columns stand left, figures right."""
    kept = [
        column
        for column, header in enumerate(headers)
        if not header or not rows or any(row[column] != MISSING for row in rows)
    ]
    return tabulate(
        [[row[column] for column in kept] for row in rows],
        [headers[column] for column in kept],
        disable_numparse=True,
        colalign=["left" if column < texts else "right" for column in kept] if rows else None,
    )


def weight_width(node: NodePrecision) -> str:
    """`4`, or `3.4 (2-6)` for widths that differ by channel."""
    if node.weight is None:
        return MISSING
    if node.weight_bits is None:
        return "float"
    if isinstance(node.weight_bits, tuple) and len(set(node.weight_bits)) > 1:
        return f"{np.mean(node.weight_bits):.2f} ({min(node.weight_bits):g}-{max(node.weight_bits):g})"
    return f"{np.mean(node.weight_bits):g}"


def noise_table(noises: Sequence[NodeNoise], most: int | None = None) -> str:
    """A line a tensor in graph order, of the `most` that survive worst where there are more; says what is left out."""
    worst_first = sorted(noises, key=lambda each: -math.inf if math.isnan(each.sqnr) else each.sqnr)
    limit = len(noises) if most is None else most
    shown = {id(each) for each in worst_first[:limit]}
    rows = [
        [each.node, each.op_type, each.tensor, _decibels(each.sqnr)] for each in noises if id(each) in shown
    ]
    table = _table(rows, ["node", "op", "tensor", "SQNR dB"], texts=3)
    left = worst_first[limit:]
    if not left:
        return table
    return f"{table}\n\nthe {limit} worst of {len(noises)}; {len(left)} more have {_decibels(left[0].sqnr)} dB or better"


def part_table(parts: Iterable[PartFigures]) -> str:
    """A line an output, or part of one: how well it survives."""
    rows = [
        [
            part.part,
            _decibels(part.sqnr.value if part.sqnr else None),
            _metric("cosine", part.cosine),
            f"{part.kind}, not compared"
            if part.kind in NOT_COMPARED
            else _metric("agreement", part.agreement),
        ]
        for part in parts
    ]
    headers = ["output", "SQNR dB", "cosine", "equal labels %"]
    return _table(rows, headers, texts=1)


class MeanWidths(Protocol):
    """What a table shows of an allocation."""

    @property
    def mean_weight_bits(self) -> float | None: ...

    @property
    def mean_activation_bits(self) -> float | None: ...


FLOAT_BASELINE = ("float", "32", "32")


def result_table(
    rows: Mapping[str, tuple[MeanWidths | None, Evaluation]],
    baseline: tuple[str, str, str] = FLOAT_BASELINE,
) -> str:
    """A line a model: mean widths and what it reaches; the baseline's own line comes first where it was measured.

    Args:
        baseline: its name, weight and activation bits.
    """
    lines: list[list[str]] = []
    names = _names(evaluation for _, evaluation in rows.values())
    for name, (allocation, evaluation) in rows.items():
        comparison = evaluation.comparison
        if comparison is not None and comparison.metrics and not lines:
            lines.append(
                [
                    *baseline,
                    *(_metric(key, comparison.metrics.get(key)) for key in names),
                    *[MISSING] * 3,
                ]
            )
        lines.append(
            [
                name,
                bits_text(allocation.mean_weight_bits if allocation else None),
                bits_text(allocation.mean_activation_bits if allocation else None),
                *(_metric(key, evaluation.metrics.get(key)) for key in names),
                _difference(comparison.top1_difference if comparison else None),
                _metric("agreement", comparison.agreement if comparison else None),
                _decibels(comparison.output_sqnr if comparison else None),
            ]
        )
    headers = [
        "",
        "weight bits",
        "activation bits",
        *map(_heading, names),
        "difference",
        "agreement %",
        "SQNR dB",
    ]
    return _table(lines, headers, texts=1)


def energy_node_table(allocation: EnergyAllocation, ratios: Iterable[NodeSignalToNoise]) -> str:
    """A line a node: energy, its share of the total, and what the noise leaves of the signal."""
    by_node = {ratio.node: ratio for ratio in ratios}
    rows = []
    for node in allocation.nodes:
        ratio = by_node.get(node.node)
        aj = attojoules(node.energy, allocation.unit)
        rows.append(
            [
                node.node,
                node.op_type,
                _energy_width(node),
                f"{node.macs:,}",
                node.fan_in,
                f"{100 * node.energy / allocation.total_energy:.1f}",
                MISSING if aj is None else f"{aj / 1e6:.4g}",
                _decibels(ratio.snr if ratio else None),
                _decibels(ratio.cascaded_snr if ratio else None),
                MISSING if ratio is None else f"{ratio.noise_equivalent_bits:.2f}",
            ]
        )
    headers = [
        "node",
        "op",
        f"energy per MAC ({allocation.unit})",
        "MACs",
        "fan-in",
        "energy %",
        "pJ",
        "SNR dB",
        "cascaded SNR dB",
        "equivalent bits",
    ]
    return _table(rows, headers, texts=2)


def ratio_table(ratios: Iterable[NodeSignalToNoise]) -> str:
    """A line a noisy node."""
    rows = [
        [
            ratio.node,
            ratio.op_type,
            f"{ratio.energy_per_mac:.4g}",
            _decibels(ratio.snr),
            _decibels(ratio.cascaded_snr),
            f"{ratio.noise_deviation:.4g}",
            f"{ratio.output_range:.4g} ({ratio.range_from})",
            f"{ratio.noise_equivalent_bits:.2f}",
        ]
        for ratio in ratios
    ]
    headers = [
        "node",
        "op",
        "energy per MAC",
        "SNR dB",
        "cascaded SNR dB",
        "sigma",
        "range",
        "equivalent bits",
    ]
    return _table(rows, headers, texts=2)


def energy_result_table(rows: Mapping[str, tuple[EnergyAllocation, Evaluation]]) -> str:
    """A line a set of energies and what it reaches; the noise-free model's own line comes first."""
    lines: list[list[str]] = []
    names = _names(evaluation for _, evaluation in rows.values())
    shown = names[0] if names else "agreement"
    for name, (allocation, evaluation) in rows.items():
        comparison = evaluation.comparison
        if comparison is not None and comparison.metrics and not lines:
            top = (_metric(key, comparison.metrics.get(key)) for key in names)
            lines.append(["noise-free", MISSING, *top, *[MISSING] * 4])
        spread = (evaluation.noise or {}).get(shown)
        lines.append(
            [
                name,
                f"{allocation.mean_energy_per_mac:.4g}",
                *(_metric(key, evaluation.metrics.get(key)) for key in names),
                MISSING if spread is None or spread.deviation is None else _figure(shown, spread.deviation),
                _difference(comparison.top1_difference if comparison else None),
                _metric("agreement", comparison.agreement if comparison else None),
                _decibels(comparison.output_sqnr if comparison else None),
            ]
        )
    headers = [
        "",
        "energy per MAC",
        *map(_heading, names),
        "deviation",
        "difference",
        "agreement %",
        "SNR dB",
    ]
    return _table(lines, headers, texts=1)


def difference_table(rows: Iterable[Sequence[str]], first: str, second: str) -> str:
    """A line a field in which two cards differ: (section, field, first's, second's)."""
    filled = [
        [section, field, *(textwrap.fill(text, CELL_WIDTH) for text in values)]
        for section, field, *values in rows
    ]
    return tabulate(filled, ["", "", first, second], disable_numparse=True)


def energy_text(allocation: EnergyAllocation) -> str:
    """What an energy allocation comes to, in one line."""
    settings = allocation.settings
    per_mac, total = allocation.mean_energy_per_mac, allocation.total_energy
    text = f"{' + '.join(settings.noise)} noise, {per_mac:.4g} {allocation.unit} a MAC"
    aj, total_aj = attojoules(per_mac, allocation.unit), allocation.total_attojoules
    text += f", {total:.4g} {allocation.unit} an example ({allocation.macs:,} MACs)"
    if aj is not None and total_aj is not None:
        text += f"; {aj:.4g} aJ a MAC, {total_aj / 1e6:.4g} pJ an example"
    if settings.compat != "none":
        text += f"; COMPAT {settings.compat}: fan-in of grouped convolutions not divided by the groups"
    return text


def spread_text(metric: str, spread: Spread) -> str:
    """Mean, deviation and interval over repeats."""
    mean, unit = _figure(metric, spread.mean), "" if metric in PLAIN else " %"
    if spread.deviation is None or spread.low is None or spread.high is None:
        count = len(spread.values)
        return f"{mean}{unit} in {'one repeat' if count == 1 else f'{count} repeats'}"
    return (
        f"{mean}{unit} ± {_figure(metric, spread.deviation)} between {len(spread.values)} repeats of the noise,"
        f" mean in [{_figure(metric, spread.low)}, {_figure(metric, spread.high)}]"
    )


class Tried(Protocol):
    """What a table shows of one budget that a search tried."""

    @property
    def budget(self) -> float: ...

    @property
    def metrics(self) -> Mapping[str, float]: ...

    @property
    def reached(self) -> bool: ...


def probe_table(probes: Sequence[Tried]) -> str:
    """A line a probe of a search."""
    rows = [
        [
            f"{probe.budget:g}",
            *(_figure(name, value) for name, value in probe.metrics.items()),
            "yes" if probe.reached else "no",
        ]
        for probe in probes
    ]
    names = list(probes[0].metrics)
    return tabulate(rows, ["budget", *map(_heading, names), "reached"], disable_numparse=True)


def _energy_width(node: NodeEnergy) -> str:
    """`10`, or `9.5 (2-60)` for energies that differ by channel."""
    mean = f"{node.mean_energy_per_mac:.4g}"
    if isinstance(node.energy_per_mac, tuple):
        return f"{mean} ({min(node.energy_per_mac):.3g}-{max(node.energy_per_mac):.3g})"
    return mean


def bits_text(bits: float | None) -> str:
    """A mean width; float where there is none."""
    return "float" if bits is None else f"{bits:.4f}".rstrip("0").rstrip(".")


def _metric(name: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return MISSING
    return f"{_figure(name, estimate.value)} [{_figure(name, estimate.low)}, {_figure(name, estimate.high)}]"


def _heading(metric: str) -> str:
    name = metric.replace("top", "top-").replace("_", " ")
    return name if metric in PLAIN else f"{name} %"


def _figure(metric: str, value: float) -> str:
    return f"{value:.4f}" if metric in PLAIN else f"{100 * value:.2f}"


def _names(evaluations: Iterable[Evaluation]) -> list[str]:
    """Of all metrics, each once; the agreement has a column of its own."""
    found = dict.fromkeys(name for evaluation in evaluations for name in evaluation.metrics)
    return [name for name in found if name != "agreement"]


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return MISSING
    margin = (difference.high - difference.low) / 2
    return f"{100 * difference.value:+.2f} ± {100 * margin:.2f}"


def _decibels(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"
