"""Write a page of what allocate or sweep left."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE, FOLDER
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import Choice, json_option
from mpq_onnx.registries import FIGURE_FORMATS


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", required=True, type=FILE, metavar="FILE", help="Where the HTML page goes.")
@click.option("--figures", type=FOLDER, metavar="DIR", help="Write every figure as a file, too.")
@click.option(
    "--figure-format", type=Choice(FIGURE_FORMATS), default="svg", show_default=True, help="Of those files."
)
@click.option("--title", help="Of the page.  [default: the folder's name]")
@json_option
def report(folder: str, output: str, as_json: bool, **options: Any) -> None:
    """Write one self-contained HTML page of what allocate or sweep left in FOLDER."""
    result = mpq_onnx.report_folder(folder, output, **options)
    if as_json:
        print_json(result)
        return
    click.echo(
        f"{result.path}: {result.bytes:,} bytes, {result.runs} {'run' if result.runs == 1 else 'runs'}"
    )
    for path in result.figures:
        click.echo(path)
