"""Write a model in the format of another tool."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE, FOLDER, SPEC
from mpq_onnx.commands.printing import print_json, print_notes
from mpq_onnx.commands.shared_options import Choice, json_option, options_from, overwrite_option
from mpq_onnx.registries import HAND_OFFS
from mpq_onnx.runs.learning_options import LearningOptions


@click.command()
@click.argument("model", type=FILE)
@click.option("--to", type=Choice(HAND_OFFS), help="The form.  [default: that of the target]")
@click.option("-o", "--output", required=True, type=FOLDER, metavar="DIR", help="Folder to write into.")
@click.option(
    "--data",
    type=SPEC,
    metavar="SPEC",
    help="For golden tensors, histograms, measured noise; else random inputs.",
)
@click.option("--examples", default=4, show_default=True, help="Golden examples.")
@options_from(LearningOptions, "target", "device")
@overwrite_option
@json_option
def handoff(model: str, output: str, as_json: bool, **options: Any) -> None:
    """Write MODEL in the format of another tool (docs/handoff.md), with golden tensors and the card.

    With --target it is refused where the device does not take it (docs/targets.md).
    """
    result = mpq_onnx.handoff(model, output, **options)
    if as_json:
        print_json(result)
        return
    for path, size in result.files.items():
        if not path.startswith("golden"):
            click.echo(f"{output}/{path}: {size:,} bytes")
    click.echo(f"{output}/golden: {result.golden_examples} examples")
    if result.largest_difference is not None:
        click.echo(
            f"largest difference of its outputs from the golden ones in onnxruntime: {result.largest_difference:g}"
        )
    print_notes(result.notes)
