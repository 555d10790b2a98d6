"""List the models that export knows by name."""

import sys

import click

import mpq_onnx
from mpq_onnx.commands.exit_codes import GATE_FAILED
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import json_option


@click.command()
@click.argument("pattern", default="")
@json_option
def models(pattern: str, as_json: bool) -> None:
    """List the models that export knows by name; PATTERN keeps those that contain it.

    Where none does, the exit code is 1.
    """
    named = mpq_onnx.models(pattern)
    if as_json:
        print_json(named)
    else:
        for kind, names in named.items():
            if names or not pattern:
                click.echo(f"{kind}: {', '.join(names) or 'none'}")
    if not any(named.values()):
        click.echo(f"mpq-onnx: no model's name contains {pattern!r}; `mpq-onnx models` lists all", err=True)
        sys.exit(GATE_FAILED)
