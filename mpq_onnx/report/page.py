"""The HTML report: one page that needs nothing else, made of figures, a sortable table and cards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup, escape

from mpq_onnx.report.card_text import field_text
from mpq_onnx.report.figures import Picture, fronts, of_run
from mpq_onnx.report.pareto import RESOURCES
from mpq_onnx.report.run_results import FolderResults, RunResults
from mpq_onnx.report.sweep_table import varied_options

MOST_RUNS = 12
"""Shown with their figures; a page of a hundred would not open."""
RESULTS = (
    "kept", "mean_weight_bits", "mean_activation_bits", "peak_activation_bits", "weight_bytes", "bit_operations",
    "mean_energy_per_mac", "unit", "top1", "top5", "accuracy", "auroc", "log_loss", "cosine", "spearman", "agreement",
    "output_sqnr", "error",
)  # fmt: skip


@dataclass(frozen=True)
class ShownRun:
    """A run with its figures."""

    name: str
    pictures: list[Picture]
    card: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Drawing:
    """All figures of a report."""

    fronts: list[Picture]
    runs: list[ShownRun]


def draw(results: FolderResults) -> Drawing:
    """The figures of the results, for the page and for files alike."""
    shown = [ShownRun(run.name, of_run(run), run.card) for run in chosen_runs(results)]
    return Drawing(fronts(results.rows), shown)


def make_page(results: FolderResults, drawing: Drawing, title: str) -> str:
    """The page."""
    rows, swept = results.rows, len(results.runs) > 1
    columns = ["run", *(varied_options(rows) if swept else [])]
    columns += [
        name
        for name in dict.fromkeys((*RESULTS, *(name for row in rows for name in row.get(RESOURCES) or ())))
        if name not in columns and any(row.get(name) is not None for row in rows)
    ]
    columns += dict.fromkeys(name for row in rows for name in row if name.startswith("uniform_"))
    environment = jinja2.Environment(loader=jinja2.PackageLoader("mpq_onnx", "report"), autoescape=True)
    return environment.get_template("page.html.j2").render(
        title=title,
        summary=f"{len(rows)} {'runs' if swept else 'allocations of one budget'}"
        + (
            f"; figures and cards of {len(drawing.runs)} of them, the best at their cost first"
            if swept
            else ""
        ),
        fronts=drawing.fronts,
        columns=columns,
        rows=rows,
        marked="no run that is as cheap is better (the Pareto front)" if swept else "what was kept",
        runs=drawing.runs,
        cell=_cell,
        text=field_text,
    )


def chosen_runs(results: FolderResults) -> Sequence[RunResults]:
    """The runs on the Pareto front, then others, up to MOST_RUNS."""
    best = {row.get("run") for row in results.rows if row.get("pareto")}
    ordered = (
        sorted(results.runs, key=lambda run: run.name not in best) if len(results.runs) > 1 else results.runs
    )
    return ordered[:MOST_RUNS]


def _cell(value: Any) -> Markup:
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        return Markup("<td>{}</td>").format(escape(text))
    return Markup('<td class="number" data-value="{}">{}</td>').format(value, f"{value:,.6g}")
