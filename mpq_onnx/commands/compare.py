"""Compare two files of a network by node."""

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE
from mpq_onnx.commands.printing import print_json, print_notes
from mpq_onnx.commands.shared_options import data_option, json_option, options_from
from mpq_onnx.runs.learning_options import LearningOptions

SHOWN_TENSORS = 20
"""Of a comparison by node."""


@click.command()
@click.argument("exact", type=FILE)
@click.argument("changed", type=FILE)
@data_option
@click.option("--all", "everything", is_flag=True, help=f"Show every tensor, not the {SHOWN_TENSORS} worst.")
@options_from(LearningOptions, "device")
@json_option
def compare(exact: str, changed: str, data: str, everything: bool, device: str, as_json: bool) -> None:
    """Compare two files of a network by node.

    Shows the SQNR of the tensors of CHANGED (a quantized file) against EXACT (the float file) on the same data.
    """
    from mpq_onnx.report.tables import noise_table

    noises = mpq_onnx.compare(exact, changed, data, device=device)
    if as_json:
        print_json({"nodes": noises, "notes": noises.notes})
    else:
        click.echo(noise_table(noises, None if everything else SHOWN_TENSORS))
        print_notes(noises.notes)
