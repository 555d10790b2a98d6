"""Pictures, drawn with matplotlib."""

import os

import numpy as np
from matplotlib.figure import Figure

from mpq_onnx.allocation import Allocation
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
    suffix = os.path.splitext(path)[1].lstrip(".").lower()  # noqa: PTH122
    with replacing(path) as temporary:
        figure.savefig(temporary, format=suffix if suffix in FORMATS else "png", dpi=150)


def _finish(axes, names: list[str], mean: float | None, label: str) -> None:  # type: ignore[no-untyped-def]
    axes.set_ylabel(label)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.get_major_locator().set_params(integer=True)
    if mean is not None:
        axes.axhline(mean, color="#444444", linewidth=1, linestyle="--")
        axes.annotate(
            f" mean {mean:.2f}", (1.0, mean), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    if not names:
        axes.text(0.5, 0.5, "all in float", transform=axes.transAxes, ha="center")
