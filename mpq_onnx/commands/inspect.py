"""Say what a model is before anything is done with it."""

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE
from mpq_onnx.commands.printing import print_json, print_notes
from mpq_onnx.commands.shared_options import json_option


@click.command()
@click.argument("model", type=FILE)
@json_option
def inspect(model: str, as_json: bool) -> None:
    """Say what MODEL is, and what of it can be quantized, before any data.

    Inputs and outputs, multiply-accumulates, weights and the widths that they can have, what stays float or is not counted,
    what allocate refuses; of a quantized file what it is stored in.
    """
    from mpq_onnx.report.inspection_text import inspection_text

    found = mpq_onnx.inspect(model)
    if as_json:
        print_json(found)
        return
    click.echo(inspection_text(found))
    print_notes(found.notes)
