"""Make a digital allocation of a noisy model."""

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import data_option, json_option, options_from
from mpq_onnx.runs.learning_options import LearningOptions


@click.command()
@click.argument("model", type=FILE)
@data_option
@click.option("-o", "--output", required=True, type=FILE, metavar="FILE", help="Where allocation.json goes.")
@click.option(
    "--noise-to-bits", is_flag=True, required=True, help="Activations get their noise-equivalent bits."
)
@options_from(LearningOptions, "device")
@json_option
def convert(model: str, data: str, output: str, noise_to_bits: bool, device: str, as_json: bool) -> None:
    """Make a digital allocation of a noisy MODEL, for apply."""
    from mpq_onnx.report.tables import bits_text

    allocation = mpq_onnx.noise_to_bits(model, data, output, device=device)
    if as_json:
        print_json(allocation)
        return
    click.echo(
        f"{output}: mean weight bits {bits_text(allocation.mean_weight_bits)}, mean activation bits"
        f" {bits_text(allocation.mean_activation_bits)}"
    )
