"""List the devices whose descriptions come with the package, or show one."""

import click

import mpq_onnx
from mpq_onnx.commands.printing import print_json, print_notes
from mpq_onnx.commands.shared_options import json_option


@click.command()
@click.argument("target", default="")
@json_option
def targets(target: str, as_json: bool) -> None:
    """List the targets that --target knows by name; with TARGET, a name or a file, say what that device takes."""
    from mpq_onnx.report.target_text import target_table, target_text
    from mpq_onnx.runs.target_notes import target_notes

    if target:
        found = mpq_onnx.load_target(target)
        if as_json:
            print_json(found.document())
        else:
            click.echo(target_text(found))
            print_notes(target_notes(found))
        return
    shipped = mpq_onnx.shipped_targets()
    if as_json:
        print_json({name: each.about for name, each in shipped.items()})
    else:
        click.echo(target_table(shipped))
