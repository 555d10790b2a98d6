"""Pictures, drawn with matplotlib."""

import os

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mpq_onnx.allocation import Allocation
from mpq_onnx.energy_allocation import EnergyAllocation
from mpq_onnx.files import replacing

FORMATS = ("png", "svg", "pdf")


def plot_bits(allocation: Allocation, path: str | os.PathLike[str], title: str = "Bits by layer") -> None:
    """Draw the widths of every node's weights and output, in graph order, as a picture file (its suffix is the format).

    Weights that differ by channel show the mean as the bar and smallest to largest as the whisker.
    """
    weights = [node for node in allocation.nodes if node.weight_bits is not None]
    activations = [node for node in allocation.nodes if node.activation_bits is not None]
    figure = Figure(
        figsize=(max(6.4, 0.28 * max(len(weights), len(activations)) + 1.5), 6.4), layout="constrained"
    )
    upper, lower = figure.subplots(2, 1)
    means = np.array([node.mean_weight_bits for node in weights], dtype=float)
    widths = [np.atleast_1d(np.array(node.weight_bits, float)) for node in weights]
    spread = np.array([[each.min(), each.max()] for each in widths]).reshape(-1, 2)
    whiskers = np.abs(spread.T - means) if np.ptp(spread, axis=1).any() else None
    upper.bar(range(len(weights)), means, color="#31688e", yerr=whiskers, ecolor="#35b779", capsize=2)
    _finish(upper, [node.node for node in weights], allocation.mean_weight_bits, "weight bits")
    bits = [float(node.activation_bits or 0) for node in activations]
    lower.bar(range(len(activations)), bits, color="#e07b39")
    _finish(lower, [node.node for node in activations], allocation.mean_activation_bits, "activation bits")
    figure.suptitle(title)
    _save(figure, path)


def plot_energy(
    allocation: EnergyAllocation, path: str | os.PathLike[str], title: str = "Energy by layer"
) -> None:
    """Draw the energy per MAC of every node, in graph order on a logarithmic axis, and its share of the total.

    Energies that differ by channel show the mean as the mark and smallest to largest as the whisker.
    """
    names = [node.node for node in allocation.nodes]
    means = np.array([node.mean_energy_per_mac for node in allocation.nodes])
    energies = [np.atleast_1d(node.energy_per_mac) for node in allocation.nodes]
    spread = np.array([[each.min(), each.max()] for each in energies])
    figure = Figure(figsize=(max(6.4, 0.28 * len(names) + 1.5), 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    upper.set_yscale("log")
    whiskers = np.abs(spread.T - means)
    upper.errorbar(
        range(len(names)), means, yerr=whiskers, fmt="o", color="#31688e", ecolor="#35b779", capsize=2
    )
    _label(upper, names, allocation.mean_energy_per_mac, f"energy per MAC ({allocation.unit})")
    shares = np.array([100 * node.energy / allocation.total_energy for node in allocation.nodes])
    lower.bar(range(len(names)), shares, color="#e07b39", label="of the energy")
    macs = np.array([100 * node.macs / allocation.macs for node in allocation.nodes])
    lower.plot(range(len(names)), macs, "_", color="#444444", markersize=10, label="of the MACs")
    lower.legend(frameon=False, fontsize=8)
    _label(lower, names, None, "share in %")
    figure.suptitle(title)
    _save(figure, path)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    suffix = os.path.splitext(path)[1].lstrip(".").lower()  # noqa: PTH122
    with replacing(path) as temporary:
        figure.savefig(temporary, format=suffix if suffix in FORMATS else "png", dpi=150)


def _finish(axes: Axes, names: list[str], mean: float | None, label: str) -> None:
    _label(axes, names, mean, label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if not names:
        axes.text(0.5, 0.5, "all in float", transform=axes.transAxes, ha="center")


def _label(axes: Axes, names: list[str], mean: float | None, label: str) -> None:
    axes.set_ylabel(label)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if mean is not None:
        axes.axhline(mean, color="#444444", linewidth=1, linestyle="--")
        axes.annotate(
            f" mean {mean:.3g}", (1.0, mean), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
