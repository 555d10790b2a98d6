"""Figures as PNG and SVG files, by matplotlib: plotly, which draws the page, would need a browser for them."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mpq_onnx.report.charts import Axis, Chart, LayerChart, Scatter, Values

COLOURS = ("#3b8bc4", "#e07b39", "#35b779")
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "mpq-onnx", "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
}  # fmt: skip
INCHES_A_LAYER = 0.22
HIGHEST_TICKED = 12
"""Whole numbers are ticked up to here: widths."""


def chart_files(chart: Chart, form: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files of a chart; points get one an axis."""
    if isinstance(chart, LayerChart):
        yield chart.name, _content(_layer_figure(chart), form)
        return
    for axis in chart.axes:
        yield f"{chart.name}-{axis.key}", _content(_scatter_figure(chart, axis), form)


def _content(figure: Figure, form: str) -> bytes:
    with matplotlib.rc_context(STYLE):
        stream = io.BytesIO()
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(stream, format=form, dpi=150, facecolor="white", metadata=metadata)
    return stream.getvalue()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
    return figure, axes


def _layer_figure(chart: LayerChart) -> Figure:
    figure, axes = _figure(max(7.0, INCHES_A_LAYER * len(chart.layers) + 1.5), 3.6)
    width = 0.8 / len(chart.series)
    for index, series in enumerate(chart.series):
        values, colour = _array(series.values), COLOURS[index % len(COLOURS)]
        places = np.arange(len(values)) + (index - (len(chart.series) - 1) / 2) * width
        spread = _spread(series.values, series.low, series.high)
        look: Any = {"color": colour, "label": series.label, "capsize": 2}
        if chart.log:  # a bar has no end there
            axes.errorbar(places, values, yerr=spread, fmt="o", markersize=5, elinewidth=1, **look)
        else:
            axes.bar(places, values, width, yerr=spread, ecolor="#555", **look)
        if series.mean is not None:
            axes.axhline(series.mean, color="#333", linewidth=1, linestyle="--")
            axes.set_title(f"{series.mean_label} {series.mean:.4g}", fontsize=9, loc="right")
    if chart.log:
        axes.set_yscale("log")
    elif np.nanmax(axes.get_ylim()) <= HIGHEST_TICKED:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(chart.label)
    axes.set_xlim(-0.8, len(chart.layers) - 0.2)
    axes.set_xticks(range(len(chart.layers)), list(chart.layers), rotation=90, fontsize=7)
    if len(chart.series) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(chart.series), frameon=False)
    return figure


def _scatter_figure(chart: Scatter, axis: Axis) -> Figure:
    figure, axes = _figure(7.0, 4.2)
    x, y = _array(axis.values), _array(chart.values)
    spread = _spread(chart.values, chart.low, chart.high)
    there = np.isfinite(x) & np.isfinite(y)
    best = np.isin(np.arange(len(x)), sorted(axis.best))
    for chosen, colour, label in ((~best, COLOURS[0], "others"), (best, COLOURS[1], chart.best_label)):
        some = np.flatnonzero(chosen & there)
        if len(some):
            some = some[np.argsort(x[some])]
            axes.errorbar(
                x[some], y[some], yerr=None if spread is None else spread[:, some], capsize=2, markersize=5, linewidth=1,
                fmt="o-" if colour == COLOURS[1] else "o", color=colour, label=label if axis.best else None,
            )  # fmt: skip
    for name, value in chart.reference.items():
        axes.axhline(value, color="#333", linewidth=1, linestyle="--", label=name)
    if axis.log:
        axes.set_xscale("log")
    if chart.log:
        axes.set_yscale("log")
    axes.set_xlabel(axis.label)
    axes.set_ylabel(chart.label)
    if axis.best or chart.reference:
        axes.legend(frameon=False)
    return figure


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if each is None else each for each in values], float)


def _spread(values: Values, low: Values | None, high: Values | None) -> np.ndarray | None:
    """Below and above."""
    if low is None or high is None:
        return None
    middle = _array(values)
    return np.maximum([middle - _array(low), _array(high) - middle], 0)
