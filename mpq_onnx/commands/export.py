"""Write a source as canonical float ONNX."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE, SPEC
from mpq_onnx.commands.printing import print_json, print_notes
from mpq_onnx.commands.shared_options import json_option

LONGEST_FACT = 200
"""Characters of a fact about a model that are shown."""


@click.command()
@click.argument("source", type=FILE)
@click.option(
    "-o", "--output", required=True, type=FILE, metavar="FILE", help="Where the canonical ONNX file goes."
)
@click.option(
    "--weights", type=FILE, metavar="FILE", help="A state dict (torch or safetensors) for a named model."
)
@click.option("--pretrained", is_flag=True, help="The library's own weights, downloaded; else random ones.")
@click.option("--task", help="Of a transformer: sequence-classification, ...; of others: what outputs mean.")
@click.option("--sequence-length", default=128, show_default=True, help="Tokens of a transformer's input.")
@click.option("--seed", default=0, show_default=True, help="Of random weights.")
@click.option(
    "--preprocess", metavar="OPTIONS", help='Kept in the file, such as "layout=nhwc&mean=0.5&std=0.25".'
)
@click.option(
    "--check",
    type=SPEC,
    metavar="SPEC",
    help="Data for the numeric check.  [default: random, open axes of length 32, or more where that is too short]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Make an input a constant (a number, a list with commas, a file.npy), or give an open axis its length. Repeatable.",
)
@json_option
def export(source: str, output: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write SOURCE as canonical float ONNX.

    SOURCE: an ONNX file, torchvision:NAME, pytorchcv:NAME, timm:NAME, transformers:DIR_OR_NAME, dlrm?numeric=13&..., or
    python:package.module:factory. `mpq-onnx models` lists the names.
    """
    from mpq_onnx.runs.fixed_values import split_settings

    result = mpq_onnx.export(source, output, values=split_settings(settings), **options)
    if as_json:
        print_json(result)
        return
    click.echo(f"{result.path}: {result.nodes} nodes, {result.bytes:,} bytes")
    click.echo(
        f"largest difference from the source on random input: {result.largest_difference:.3g}"
        f" (outputs up to {result.largest_output:.3g})"
    )
    print_notes(result.notes)
    if result.fixed_batch is not None:
        click.echo(f"batch size: {result.fixed_batch} only; {_what_follows(result)}")
    for key, text in result.metadata.items():
        click.echo(f"{key}: {text if len(text) <= LONGEST_FACT else f'{len(text):,} characters'}")


def _what_follows(result: "mpq_onnx.ExportResult") -> str:
    """Of a file that takes one batch size."""
    if result.network_takes_any:
        return "what comes before post-processing takes any"
    if result.fixed_batch == 1:
        return "allocate takes its examples one by one, which is slow"
    return "allocate wants a model for any"
