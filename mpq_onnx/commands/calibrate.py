"""Measure activation ranges."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.shared_options import data_option, options_from
from mpq_onnx.runs.options import AllocateOptions


@click.command()
@click.argument("model")
@data_option
@click.option("-o", "--output", required=True, metavar="FILE", help="Where calibration.json goes.")
@options_from(AllocateOptions, "observer", "placement", "activation_scheme", "equalization", "seed", "device")
def calibrate(model: str, data: str, output: str, **options: Any) -> None:
    """Measure the activation ranges of MODEL."""
    result = mpq_onnx.calibrate(model, data, output, **options)
    click.echo(
        f"{output}: {len(result.tensors)} activations, {result.examples} examples, observer {result.observer}"
    )
