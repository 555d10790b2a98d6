"""Print the quantization card of a model."""

from pathlib import Path

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import json_option


@click.command()
@click.argument("model", type=FILE)
@click.argument("other", type=FILE, required=False)
@json_option
def card(model: str, other: str | None, as_json: bool) -> None:
    """Print the quantization card of MODEL, whoever made it; with OTHER, what the two do not share."""
    from mpq_onnx.report.card_text import card_markdown, differences

    first = mpq_onnx.card(model)
    if other is None:
        if as_json:
            print_json(first)
        else:
            click.echo(card_markdown(first, Path(model).name))
        return
    from mpq_onnx.report.tables import difference_table

    found = differences(first, mpq_onnx.card(other))
    if as_json:
        keys = ("section", "field", model, other)
        print_json({"differences": [dict(zip(keys, each, strict=True)) for each in found]})
        return
    click.echo(difference_table(found, model, other) if found else "no difference")
