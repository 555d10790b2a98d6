"""The figures of a report, drawn with matplotlib; text and axes take the page's colour, so that they suit light and dark."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from mpq_onnx.arithmetic.noise.units import attojoules
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.report.pareto import costs_of, is_best, quality_metric
from mpq_onnx.report.run_results import RunResults

INK = "#010203"
"""Stands for the page's text colour until the SVG is written."""
BLUE, GREEN, ORANGE = "#3b8bc4", "#35b779", "#e07b39"
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "mpq-onnx", "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
    "legend.frameon": False,
}  # fmt: skip
INCHES_A_NODE = 0.22


@dataclass(frozen=True)
class Picture:
    """One figure."""

    name: str
    """For a file."""
    caption: str
    figure: Figure

    def svg(self) -> str:
        """As an <svg> element in the page's text colour."""
        with matplotlib.rc_context(STYLE):
            content = io.StringIO()
            self.figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
        text = content.getvalue()
        return text[text.index("<svg") :].replace(INK, "currentColor")

    def write(self, stream: io.BytesIO, form: str) -> None:
        """As a PNG or SVG of its own, on white."""
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(
                stream,
                format=form,
                dpi=150,
                facecolor="white",
                metadata={"Date": None} if form == "svg" else None,
            )


def fronts(rows: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Quality against every cost with intervals; the Pareto front and the float model's line."""
    metric = quality_metric(rows)
    if metric is None:
        return []
    drawn = (_front(rows, metric, *cost) for cost in costs_of(rows).items())
    return [each for each in drawn if each is not None]


def _front(rows: Sequence[Mapping[str, Any]], metric: str, cost: str, label: str) -> Picture | None:
    points = [row for row in rows if row.get(cost) and row.get(metric) is not None]
    if not points:
        return None
    figure, axes = _figure(7.0, 4.2)
    scale = 1.0 if metric == "output_sqnr" else 100.0
    for chosen, colour in ((False, BLUE), (True, ORANGE)):
        some = sorted((row for row in points if is_best(row, cost) == chosen), key=lambda row: row[cost])
        if not some:
            continue
        x, y = (np.array([row[name] for row in some], float) for name in (cost, metric))
        low = np.array([row.get(f"{metric}_low", row[metric]) for row in some], float)
        high = np.array([row.get(f"{metric}_high", row[metric]) for row in some], float)
        spread = np.maximum([y - low, high - y], 0) * scale
        which = "best at their cost" if chosen else "others"
        axes.errorbar(
            x, y * scale, yerr=spread, fmt="o" if not chosen else "o-", color=colour, alpha=0.9 if chosen else 0.55,
            capsize=2, markersize=5, linewidth=1, label=which,
        )  # fmt: skip
    exact = next((row[f"float_{metric}"] for row in points if row.get(f"float_{metric}") is not None), None)
    if exact is not None:
        axes.axhline(exact * scale, color=INK, linewidth=1, linestyle="--", label="float")
    values = [row[cost] for row in points]
    if max(values) > 5 * min(values):
        axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("output SQNR, dB" if metric == "output_sqnr" else f"{metric.replace('_', ' ')}, %")
    axes.legend(frameon=False)
    return Picture(f"front-{cost}", f"Quality against {label}, with 95 % intervals.", figure)


def of_run(run: RunResults) -> list[Picture]:
    """All figures of one run."""
    drawn: list[Picture | None] = []
    if run.allocation is not None:
        drawn.append(_bits(run.allocation))
    if run.energy is not None:
        drawn += [_energies(run.energy), _energy_shares(run.energy), _energy_against(run.energy)]
    drawn.append(
        _by_node(
            run.nodes,
            ("sqnr", "snr", "cascaded_snr"),
            "signal to noise, dB",
            "snr",
            "Signal to noise by node.",
        )
    )
    drawn.append(
        _by_node(
            run.nodes, ("noise_equivalent_bits",), "bits", "equivalent-bits",
            "Noise-equivalent bits: the width whose rounding error is as strong as the noise.",
        )
    )  # fmt: skip
    return [picture for picture in drawn if picture is not None]


def _bits(allocation: Allocation) -> Picture | None:
    weights = [
        (node.node, np.atleast_1d(node.weight_bits))
        for node in allocation.nodes
        if node.weight_bits is not None
    ]
    outputs = [
        (node.node, np.atleast_1d(node.activation_bits)) for node in allocation.nodes if node.activation_bits
    ]
    sides = [
        side
        for side in (
            ("weight bits", weights, BLUE, allocation.mean_weight_bits),
            ("activation bits", outputs, ORANGE, allocation.mean_activation_bits),
        )
        if side[1]
    ]
    if not sides:
        return None
    longest = max(len(entries) for _, entries, *_ in sides)
    figure, *axes = _figure(_width(longest), 3.1 * len(sides), len(sides))
    for one, (label, entries, colour, mean) in zip(axes, sides, strict=True):
        widths = [bits.astype(float) for _, bits in entries]
        means = np.array([each.mean() for each in widths])
        spread = np.array(
            [[mean - each.min(), each.max() - mean] for mean, each in zip(means, widths, strict=True)]
        ).T
        one.bar(
            range(len(means)),
            means,
            color=colour,
            yerr=spread if spread.any() else None,
            ecolor=INK,
            capsize=2,
        )
        one.yaxis.set_major_locator(MaxNLocator(integer=True))
        _name(one, [name for name, _ in entries], label, mean)
    return Picture("bits", "Bits by layer; whiskers are smallest and largest channel.", figure)


def _energies(energy: EnergyAllocation) -> Picture:
    figure, axes = _figure(_width(len(energy.nodes)), 3.4)
    means = np.array([node.mean_energy_per_mac for node in energy.nodes])
    values = [np.atleast_1d(node.energy_per_mac) for node in energy.nodes]
    factor = attojoules(1.0, energy.unit) or 1.0
    low, high = np.array([each.min() for each in values]), np.array([each.max() for each in values])
    axes.errorbar(
        range(len(means)), means * factor, yerr=np.array([means - low, high - means]) * factor, fmt="o", color=BLUE,
        ecolor=GREEN, capsize=2,
    )  # fmt: skip
    axes.set_yscale("log")
    unit = "aJ" if factor != 1.0 else energy.unit
    names = [node.node for node in energy.nodes]
    _name(axes, names, f"energy per MAC, {unit}", energy.mean_energy_per_mac * factor)
    return Picture(
        "energy", f"Energy per MAC by layer ({unit}); whiskers are smallest and largest channel.", figure
    )


def _energy_shares(energy: EnergyAllocation) -> Picture:
    figure, axes = _figure(_width(len(energy.nodes)), 3.0)
    places = range(len(energy.nodes))
    shares = [100 * node.energy / energy.total_energy for node in energy.nodes]
    axes.bar(places, shares, color=ORANGE, label="of the energy")
    macs = [100 * node.macs / energy.macs for node in energy.nodes]
    axes.plot(places, macs, "_", color=INK, markersize=10, label="of the MACs")
    axes.legend(frameon=False)
    _name(axes, [node.node for node in energy.nodes], "share, %")
    return Picture("energy-shares", "Each layer's share of the energy, beside its share of the MACs.", figure)


def _energy_against(energy: EnergyAllocation) -> Picture:
    figure, *axes = _figure(9.0, 3.2, 1, 3)
    fields: tuple[tuple[str, Callable[[Any], float]], ...] = (
        ("fan-in", lambda node: node.fan_in),
        ("outputs an example", lambda node: node.macs / max(node.fan_in, 1)),
        ("MACs an example", lambda node: node.macs),
    )
    for one, (label, pick) in zip(axes, fields, strict=True):
        one.scatter(
            [pick(node) for node in energy.nodes],
            [node.mean_energy_per_mac for node in energy.nodes],
            color=BLUE,
            s=18,
        )
        one.set_xscale("log")
        one.set_yscale("log")
        one.xaxis.set_minor_formatter(NullFormatter())
        one.set_xlabel(label)
    axes[0].set_ylabel(f"energy per MAC, {energy.unit}")
    return Picture(
        "energy-against", "Energy per MAC of every layer against its fan-in, output size and MACs.", figure
    )


def _by_node(
    nodes: Sequence[Mapping[str, Any]], fields: Sequence[str], label: str, name: str, caption: str
) -> Picture | None:
    shown = [field for field in fields if any(_finite(node.get(field)) for node in nodes)]
    if not shown:
        return None
    figure, axes = _figure(_width(len(nodes)), 3.4)
    for field, colour in zip(shown, (BLUE, ORANGE), strict=False):
        points = [(index, float(node[field])) for index, node in enumerate(nodes) if _finite(node.get(field))]
        axes.plot(
            *zip(*points, strict=True),
            "o-",
            color=colour,
            markersize=3.5,
            linewidth=1,
            label=field.replace("_", " "),
        )
    if len(shown) > 1:
        axes.legend(frameon=False)
    _name(axes, [str(node["node"]) for node in nodes], label)
    return Picture(name, caption, figure)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, ...]:
    """(figure, its axes ...)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, *axes.ravel()


def _width(nodes: int) -> float:
    return max(7.0, INCHES_A_NODE * nodes + 1.5)


def _name(axes: Axes, names: Sequence[str], label: str, mean: float | None = None) -> None:
    """Name the nodes below; a mean is a line across."""
    axes.set_ylabel(label)
    if mean is not None:
        axes.axhline(mean, color=INK, linewidth=1, linestyle="--")
        axes.annotate(
            f" mean {mean:.3g}", (1.0, mean), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    axes.set_xlim(-0.8, len(names) - 0.2)
    axes.set_xticks(range(len(names)), list(names), rotation=90, fontsize=7)
