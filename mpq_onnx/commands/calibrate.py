"""Measure activation ranges."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import data_option, json_option, options_from
from mpq_onnx.runs.options import AllocateOptions


@click.command()
@click.argument("model", type=FILE)
@data_option
@click.option("-o", "--output", required=True, type=FILE, metavar="FILE", help="Where calibration.json goes.")
@options_from(AllocateOptions, "observer", "placement", "activation_scheme", "equalization", "seed", "device")
@json_option
def calibrate(model: str, data: str, output: str, as_json: bool, **options: Any) -> None:
    """Measure the activation ranges of MODEL."""
    result = mpq_onnx.calibrate(model, data, output, **options)
    if as_json:
        print_json({"path": output, **result.to_dict()})
        return
    click.echo(f"{output}: {result.title}")
