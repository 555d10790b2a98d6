"""List the models that export knows by name."""

import click

import mpq_onnx
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import json_option


@click.command()
@click.argument("pattern", default="")
@json_option
def models(pattern: str, as_json: bool) -> None:
    """List the models that export knows by name; PATTERN keeps those that contain it."""
    named = mpq_onnx.models(pattern)
    if as_json:
        print_json(named)
        return
    for kind, names in named.items():
        click.echo(f"{kind}: {', '.join(names) or 'none'}")
