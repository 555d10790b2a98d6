"""The figures of a report: quality against every cost, and what each layer of a run has."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mpq_onnx.arithmetic.noise.units import attojoules
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation, NodeEnergy
from mpq_onnx.documents.node_precision import NodePrecision
from mpq_onnx.report.charts import Axis, Chart, LayerChart, Scatter, Series, spans_decades
from mpq_onnx.report.columns import column_of
from mpq_onnx.report.pareto import BITS, axes_of, front_of, kinds_of, quality_metric
from mpq_onnx.report.run_results import RunResults

Rows = Sequence[Mapping[str, Any]]


def fronts(rows: Rows, titles: Sequence[str], swept: bool) -> list[Scatter]:
    """Quality against every cost with intervals, a figure a kind of cost: bits by themselves, energies by their noise.

    Args:
        titles: what each row is.
        swept: the best are those that none beats; else what was kept.
    """
    drawn = []
    for kind, places in kinds_of(rows).items():
        some = [place for place in places if quality_metric([rows[place]]) is not None]
        if some:
            front = _front(kind, rows, some, [titles[place] for place in some], swept)
            drawn += [] if front is None else [front]
    return drawn


def _front(
    kind: str, all_rows: Rows, places: Sequence[int], titles: Sequence[str], swept: bool
) -> Scatter | None:
    rows = [all_rows[place] for place in places]
    metric = str(quality_metric(rows))
    quality = column_of(metric, all_rows)
    axes = []
    for name in axes_of(rows):
        column = column_of(name, all_rows if kind == BITS else rows)
        values = tuple(column.shown(row) for row in rows)
        best = (
            front_of(rows, name) if swept else [place for place, row in enumerate(rows) if row.get("pareto")]
        )
        axes.append(Axis(name, column.label, values, frozenset(best), spans_decades(values)))
    if not axes:
        return None
    exact = next((value for row in rows if (value := row.get(f"float_{metric}")) is not None), None)
    return Scatter(
        name="front" if kind == BITS else f"front-{kind.replace(' + ', '-').replace(' ', '-')}",
        caption=f"Quality against what it costs{'' if kind == BITS else f', {kind}'}, with 95 % intervals.",
        label=quality.label,
        titles=tuple(titles),
        values=tuple(quality.shown(row) for row in rows),
        low=tuple(_end(quality.shown(row, "_low"), quality.shown(row)) for row in rows),
        high=tuple(_end(quality.shown(row, "_high"), quality.shown(row)) for row in rows),
        axes=tuple(axes),
        reference={}
        if exact is None
        else {"float" if kind == BITS else "noise-free": exact * quality.factor},
        best_label="best at their cost" if swept else "kept",
    )


def _end(end: float | None, value: float | None) -> float | None:
    return value if end is None else end


def of_run(run: RunResults) -> list[Chart]:
    """All figures of one run."""
    drawn: list[Chart | None] = []
    if run.allocation is not None:
        drawn += [_weight_bits(run.allocation), _activation_bits(run.allocation)]
    if run.energy is not None:
        drawn += [_energies(run.energy), _energy_shares(run.energy), _energy_against(run.energy)]
    drawn.append(_by_node(run.nodes, "sqnr", "snr", "signal to noise, dB", "Signal to noise by node."))
    drawn.append(
        _by_node(
            run.nodes, "snr", "snr", "signal to noise, dB",
            "Signal to noise by node, of its own noise, and cascaded: of the noise before it, too.", "cascaded_snr",
        )
    )  # fmt: skip
    drawn.append(
        _by_node(
            run.nodes, "noise_equivalent_bits", "equivalent-bits", "bits",
            "Noise-equivalent bits: the width whose rounding error is as strong as the noise.",
        )
    )  # fmt: skip
    return [chart for chart in drawn if chart is not None]


def _weight_bits(allocation: Allocation) -> LayerChart | None:
    nodes = [node for node in allocation.nodes if node.weight_bits is not None]
    if not nodes:
        return None
    return LayerChart(
        "weight-bits",
        f"Weight bits by layer{_channels(node.weight_bits for node in nodes)}.",
        "weight bits",
        _distinct([_weight_name(node, nodes) for node in nodes]),
        (
            _by_channel(
                "weight bits",
                [node.weight_bits for node in nodes],
                allocation.mean_weight_bits,
                "mean over weights",
            ),
        ),
    )


def _weight_name(node: NodePrecision, nodes: Sequence[NodePrecision]) -> str:
    """The node's, with its weight's where it has several."""
    several = sum(each.node == node.node for each in nodes) > 1
    return f"{node.node} {node.weight}" if several else node.node


def _activation_bits(allocation: Allocation) -> LayerChart | None:
    nodes = [node for node in allocation.nodes if node.activation_bits is not None]
    if not nodes:
        return None
    return LayerChart(
        "activation-bits",
        "Activation bits by node.",
        "activation bits",
        _distinct([node.node for node in nodes]),
        (
            _by_channel(
                "activation bits",
                [node.activation_bits for node in nodes],
                allocation.mean_activation_bits,
                "mean over elements",
            ),
        ),
    )


def _by_channel(label: str, values: Sequence[Any], mean: float | None, mean_label: str) -> Series:
    """The mean of each, with its smallest and its largest channel where channels differ."""
    channels = [np.atleast_1d(np.asarray(each, float)) for each in values]
    differ = any(each.min() != each.max() for each in channels)
    return Series(
        label,
        tuple(float(each.mean()) for each in channels),
        tuple(float(each.min()) for each in channels) if differ else None,
        tuple(float(each.max()) for each in channels) if differ else None,
        mean,
        mean_label,
    )


def _channels(values: Any) -> str:
    """What whiskers are, where there are any."""
    several = any(len(set(np.atleast_1d(each).tolist())) > 1 for each in values)
    return "; whiskers are smallest and largest channel" if several else ""


def _energies(energy: EnergyAllocation) -> LayerChart:
    values = [node.energy_per_mac for node in energy.nodes]
    per_photon = attojoules(1.0, energy.unit)
    worth = "" if per_photon is None else f" (a photon at 1.55 µm is {per_photon:.3g} aJ)"
    return LayerChart(
        "energy",
        f"Energy per MAC by layer{worth}{_channels(values)}.",
        f"energy per MAC, {energy.unit}",
        _distinct([node.node for node in energy.nodes]),
        (_by_channel("energy per MAC", values, energy.mean_energy_per_mac, "mean over MACs"),),
        log=True,
    )


def _energy_shares(energy: EnergyAllocation) -> LayerChart:
    shares = tuple(100 * node.energy / energy.total_energy for node in energy.nodes)
    macs = tuple(100 * node.macs / energy.macs for node in energy.nodes)
    return LayerChart(
        "energy-shares",
        "Each layer's share of the energy, beside its share of the MACs.",
        "share, %",
        _distinct([node.node for node in energy.nodes]),
        (Series("of the energy", shares), Series("of the MACs", macs)),
    )


def _energy_against(energy: EnergyAllocation) -> Scatter:
    fields: tuple[tuple[str, str, Callable[[NodeEnergy], float]], ...] = (
        ("fan_in", "fan-in", lambda node: node.fan_in),
        ("outputs", "outputs an example", lambda node: node.macs / max(node.fan_in, 1)),
        ("macs", "MACs an example", lambda node: node.macs),
    )
    return Scatter(
        name="energy-against",
        caption="Energy per MAC of every layer against its fan-in, output size and MACs.",
        label=f"energy per MAC, {energy.unit}",
        titles=tuple(node.node for node in energy.nodes),
        values=tuple(node.mean_energy_per_mac for node in energy.nodes),
        axes=tuple(
            Axis(key, label, tuple(float(pick(node)) for node in energy.nodes), log=True)
            for key, label, pick in fields
        ),
        log=True,
    )


def _by_node(
    nodes: Rows, field: str, name: str, label: str, caption: str, second: str | None = None
) -> LayerChart | None:
    fields = [each for each in (field, second) if each and any(_finite(node.get(each)) for node in nodes)]
    if not fields or fields[0] != field:
        return None
    return LayerChart(
        name,
        caption,
        label,
        _distinct([str(node["node"]) for node in nodes]),
        tuple(Series(_words(each), tuple(_number(node.get(each)) for node in nodes)) for each in fields),
    )


def _words(field: str) -> str:
    return field.replace("_", " ").replace("sqnr", "SQNR").replace("snr", "SNR")


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Those that come again are numbered."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _number(value: Any) -> float | None:
    return float(value) if _finite(value) else None
