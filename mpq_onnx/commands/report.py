"""Write a page of what allocate or sweep left."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import json_option


@click.command()
@click.argument("folder")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the HTML page goes.")
@click.option("--figures", metavar="DIR", help="Write every figure as a file, too.")
@click.option("--figure-format", default="svg", show_default=True, help="svg or png.")
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
