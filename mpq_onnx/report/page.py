"""The HTML report: one page that needs nothing else. Its figures are drawn by plotly, whose JavaScript it holds once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mpq_onnx.report.charts import Chart, Scatter
from mpq_onnx.report.columns import Column, columns_of
from mpq_onnx.report.figures import fronts, of_run
from mpq_onnx.report.page_data import page_data
from mpq_onnx.report.run_results import FolderResults, RunResults
from mpq_onnx.report.run_titles import run_titles

MOST_RUNS = 100
"""Shown by layer: a page of thousands would not open."""


@dataclass(frozen=True)
class ShownRun:
    """A run that the page shows by layer."""

    name: str
    title: str
    charts: list[Chart]
    card: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """All figures of a report."""

    titles: list[str]
    """One a row of the results."""
    fronts: list[Scatter]
    runs: list[ShownRun]


def draw(results: FolderResults) -> Drawing:
    """The figures of the results, for the page and for files alike."""
    titles = run_titles(results.rows, results.swept)
    by_run = dict(zip((str(row.get("run")) for row in results.rows), titles, strict=True))
    kept = next((title for row, title in zip(results.rows, titles, strict=True) if row.get("pareto")), "")
    shown = [
        ShownRun(
            run.name,
            by_run.get(run.name, run.name) if results.swept else kept or run.name,
            of_run(run),
            run.card,
            run.notes,
        )
        for run in chosen_runs(results)
    ]
    return Drawing(titles, fronts(results.rows, titles, results.swept), shown)


def make_page(results: FolderResults, drawing: Drawing, title: str | None) -> str:
    """The page.

    Args:
        title: what it is, where that is not to be said by what was found.
    """
    from plotly.offline import get_plotlyjs  # here alone is it needed

    environment = jinja2.Environment(loader=jinja2.PackageLoader("mpq_onnx", "report"), autoescape=True)
    columns = columns_of(results.rows, results.swept)
    return environment.get_template("page.html.j2").render(
        title=title or _title(results, drawing),
        facts=results.facts,
        swept=results.swept,
        columns=columns,
        numbers={column.key for column in columns for row in results.rows if column.shown(row) is not None},
        folded=sum(not column.main for column in columns),
        rows=[
            {
                "run": row.get("run"),
                "title": row_title,
                "best": row.get("pareto"),
                "cells": [_cell(column, row) for column in columns],
            }
            for row, row_title in zip(results.rows, drawing.titles, strict=True)
        ],
        fronts=drawing.fronts,
        runs=drawing.runs,
        marked="no run that is as cheap is better (the Pareto front)" if results.swept else "what was kept",
        left_out=len(results.runs) - len(drawing.runs),
        style=_raw(environment, "page.css"),
        script=_raw(environment, "page.js"),
        data=_script_safe(page_data(drawing.fronts, drawing.runs)),
        plotly=Markup(get_plotlyjs()),
    )


def _title(results: FolderResults, drawing: Drawing) -> str:
    model = Path(results.facts.get("model", "")).name
    if results.swept:
        return f"{len(results.rows)} runs{f' of {model}' if model else ''}"
    return " · ".join(filter(None, (drawing.runs[0].title, model)))


def chosen_runs(results: FolderResults) -> Sequence[RunResults]:
    """All, or the first MOST_RUNS, those on the Pareto front before others."""
    if len(results.runs) <= MOST_RUNS:
        return results.runs
    best = {row.get("run") for row in results.rows if row.get("pareto")}
    kept = {run.name for run in sorted(results.runs, key=lambda run: run.name not in best)[:MOST_RUNS]}
    return [run for run in results.runs if run.name in kept]


def _raw(environment: jinja2.Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _script_safe(document: Any) -> Markup:
    """JSON that no text in it can break out of."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@dataclass(frozen=True)
class Cell:
    """What a table shows."""

    text: str
    interval: str = ""
    number: float | None = None
    """To sort by."""


def _cell(column: Column, row: Mapping[str, Any]) -> Cell:
    number = column.shown(row)
    if number is None:
        value = row.get(column.key)
        return Cell(
            ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        )
    low, high = column.shown(row, "_low"), column.shown(row, "_high")
    known = column.interval and low is not None and high is not None
    return Cell(
        _figure(column, number), f"{_figure(column, low)} to {_figure(column, high)}" if known else "", number
    )


def _figure(column: Column, value: float | None) -> str:
    """Percentages with two decimals, other numbers with up to five digits, and whole ones whole."""
    assert value is not None
    if column.label.endswith("%"):
        return f"{value:.2f}"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1e5 else f"{value:,.5g}"
