"""Allocate for every combination of lists of options."""

import sys
from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.exit_codes import GATE_FAILED
from mpq_onnx.commands.option_types import FILE, FOLDER
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import json_option, overwrite_option, workers_options


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--config", required=True, type=FILE, metavar="FILE", help="YAML, TOML or JSON (docs/sweep.md)."
)
@click.option("-o", "--output", required=True, type=FOLDER, metavar="DIR", help="Folder for all runs.")
@workers_options
@click.option(
    "--threads",
    default=1,
    show_default=True,
    help="Of torch in every run; another number, other last digits of what is trained.",
)
@overwrite_option
@json_option
def sweep(model: str, config: str, output: str, as_json: bool, **options: Any) -> None:
    """Allocate MODEL for every combination of lists of options, budgets, noise models and seeds.

    Finished runs are kept in DIR; the same command goes on from them.
    """
    from mpq_onnx.report.sweep_table import sweep_table
    from mpq_onnx.runs.configuration import read_configuration
    from mpq_onnx.runs.sweep_plan import runs_of

    configuration = read_configuration(config)
    for _ in runs_of(configuration):  # refused before anything heavy is loaded
        pass
    result = mpq_onnx.sweep(model, configuration, output, **options)
    if as_json:
        print_json(result)
    else:
        click.echo(sweep_table(result.rows))
        counted = "1 run" if len(result.rows) == 1 else f"{len(result.rows)} runs"
        click.echo(f"\n{counted} in {output}/results.csv and results.jsonl; * is on the Pareto front")
    if result.failed:
        click.echo(f"mpq-onnx: {result.failed} runs failed; results.csv says why", err=True)
        sys.exit(GATE_FAILED)
