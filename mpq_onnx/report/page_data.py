"""What the page's script draws, as one JSON document: lists of layers and texts that runs share stand there once."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mpq_onnx.report.card_text import field_text
from mpq_onnx.report.charts import Chart, LayerChart, Scatter, Series, Values


class Shown(Protocol):
    """A run."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def charts(self) -> list[Chart]: ...

    @property
    def card(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


class _Once:
    """Each value once; others name its place."""

    def __init__(self) -> None:
        self.places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        return self.places.setdefault(value, len(self.places))


def page_data(fronts: Sequence[Scatter], runs: Sequence[Shown]) -> dict[str, Any]:
    """The document."""
    layers, texts = _Once(), _Once()
    shown = [
        {
            "name": run.name,
            "title": run.title,
            "charts": [_chart(chart, layers) for chart in run.charts],
            "card": [
                [texts.place(section), texts.place(name), texts.place(field_text(value))]
                for section, fields in run.card.items()
                for name, value in fields.items()
            ],
            "notes": [texts.place(note) for note in run.notes],
        }
        for run in runs
    ]
    return {
        "fronts": [_scatter(front, layers) for front in fronts],
        "runs": shown,
        "layers": [list(names) for names in layers.places],
        "texts": list(texts.places),
    }


def _chart(chart: Chart, layers: _Once) -> dict[str, Any]:
    if isinstance(chart, Scatter):
        return _scatter(chart, layers)
    return _layer_chart(chart, layers)


def _layer_chart(chart: LayerChart, layers: _Once) -> dict[str, Any]:
    return {
        "name": chart.name,
        "caption": chart.caption,
        "label": chart.label,
        "log": chart.log,
        "layers": layers.place(chart.layers),
        "series": [_series(series) for series in chart.series],
    }


def _series(series: Series) -> dict[str, Any]:
    found: dict[str, Any] = {"label": series.label, "values": _rounded(series.values)}
    if series.low is not None and series.high is not None:
        found |= {"low": _rounded(series.low), "high": _rounded(series.high)}
    if series.mean is not None:
        found |= {"mean": series.mean, "meanLabel": series.mean_label}
    return found


def _scatter(chart: Scatter, layers: _Once) -> dict[str, Any]:
    return {
        "name": chart.name,
        "caption": chart.caption,
        "label": chart.label,
        "log": chart.log,
        "titles": layers.place(chart.titles),
        "values": _rounded(chart.values),
        "low": _rounded(chart.low),
        "high": _rounded(chart.high),
        "axes": [
            {
                "key": axis.key,
                "label": axis.label,
                "values": _rounded(axis.values),
                "log": axis.log,
                "best": sorted(axis.best),
            }
            for axis in chart.axes
        ],
        "reference": dict(chart.reference),
        "bestLabel": chart.best_label,
    }


def _rounded(values: Values | None) -> list[float | None] | None:
    """To five digits, as nobody sees more in a figure."""
    return None if values is None else [None if each is None else float(f"{each:.5g}") for each in values]
