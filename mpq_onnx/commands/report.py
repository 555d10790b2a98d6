"""Write a page of what allocate or sweep left, or a picture of a file's graph."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE, FOLDER
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import Choice, json_option
from mpq_onnx.errors import UsageError
from mpq_onnx.registries import FIGURE_FORMATS


@click.command()
@click.argument("folder", type=FOLDER, required=False)
@click.option(
    "--graph", type=FILE, metavar="FILE", help="Draw an ONNX file instead, coloured by its bits or energies."
)
@click.option(
    "-o", "--output", required=True, type=FILE, metavar="FILE", help="Where the HTML page, or the SVG, goes."
)
@click.option("--figures", type=FOLDER, metavar="DIR", help="Write every figure as a file, too.")
@click.option("--figure-format", type=Choice(FIGURE_FORMATS), help="Of those files.  [default: svg]")
@click.option("--title", help="Of the page or picture.  [default: what was run, the file's name]")
@json_option
def report(folder: str | None, graph: str | None, output: str, as_json: bool, **options: Any) -> None:
    """Write one self-contained HTML page of what allocate or sweep left in FOLDER; or a picture of a file's graph."""
    if (folder is None) == (graph is None):
        raise UsageError("report: give the folder that allocate or sweep filled, or --graph FILE.onnx")
    given = {name: value for name, value in options.items() if value is not None}
    if graph is not None:
        _draw_graph(graph, output, as_json, given)
        return
    result = mpq_onnx.report_folder(str(folder), output, **given)
    if as_json:
        print_json(result)
        return
    click.echo(
        f"{result.path}: {result.bytes:,} bytes, {result.runs} {'run' if result.runs == 1 else 'runs'}"
    )
    for path in result.figures:
        click.echo(path)


def _draw_graph(graph: str, output: str, as_json: bool, options: dict[str, Any]) -> None:
    for name in ("figures", "figure_format"):
        if name in options:
            raise UsageError(f"--{name.replace('_', '-')}: goes with a folder's page, not with --graph")
    result = mpq_onnx.draw_graph(graph, output, **options)
    if as_json:
        print_json(result)
        return
    click.echo(
        f"{result.path}: {result.boxes} {'box' if result.boxes == 1 else 'boxes'}, coloured by {result.coloured_by}"
    )
