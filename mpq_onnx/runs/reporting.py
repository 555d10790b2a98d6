"""report: one HTML page of what allocate or sweep found, and its figures as files. No torch here."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpq_onnx.errors import check_choice
from mpq_onnx.files import check_name, replacing, write_text
from mpq_onnx.registries import FIGURE_FORMATS
from mpq_onnx.report.charts import Chart
from mpq_onnx.report.page import Drawing, draw, make_page
from mpq_onnx.report.run_results import read_folder
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.result import Result


@dataclass(frozen=True)
class ReportResult(Result):
    """What was written."""

    path: str
    bytes: int
    runs: int
    figures: tuple[str, ...]

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a file."""
        return [{"file": self.path, "bytes": self.bytes}, *({"file": path} for path in self.figures)]


@checked_arguments
def report_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    figures: str | os.PathLike[str] | None = None,
    figure_format: str = "svg",
    title: str | None = None,
) -> ReportResult:
    """Write the report of a folder that allocate or sweep filled.

    Args:
        output: the HTML file.
        figures: a folder for every figure as a file of its own.
        figure_format: svg or png.

    Raises:
        DataError: the folder holds no results.
        UsageError: an unknown format.
    """
    check_choice("figure-format", figure_format, FIGURE_FORMATS)
    check_name(output, (".html", ".htm"), "the page")
    results = read_folder(Path(folder))
    drawing = draw(results)
    page = make_page(results, drawing, title)
    write_text(output, page)
    written = () if figures is None else _write_figures(drawing, Path(figures), figure_format)
    return ReportResult(str(output), len(page.encode()), len(results.runs), written)


def _write_figures(drawing: Drawing, folder: Path, form: str) -> tuple[str, ...]:
    from mpq_onnx.report.chart_files import chart_files  # matplotlib draws files alone

    charts: list[tuple[str, Chart]] = [("", front) for front in drawing.fronts]
    charts += [(f"{run.name}-", chart) for run in drawing.runs for chart in run.charts]
    written = []
    for prefix, chart in charts:
        for name, content in chart_files(chart, form):
            path = folder / f"{prefix}{name}.{form}"
            with replacing(path) as temporary:
                temporary.write_bytes(content)
            written.append(str(path))
    return tuple(written)
