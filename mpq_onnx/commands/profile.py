"""Fill a cost table with measurements or simulations."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE, SPEC
from mpq_onnx.commands.printing import print_json, print_notes
from mpq_onnx.commands.shared_options import Choice, HeadedCommand, json_option, options_from
from mpq_onnx.errors import UsageError
from mpq_onnx.registries import SIMULATORS
from mpq_onnx.runs.learning_options import LearningOptions
from mpq_onnx.runs.profile_options import ProfileOptions


@click.command(cls=HeadedCommand)
@click.argument("model", type=FILE, required=False)
@click.option(
    "--with", "simulator", type=Choice(SIMULATORS), help="What finds the costs (docs/simulators.md)."
)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="The table, a CSV file.")
@click.option(
    "--data", type=SPEC, metavar="SPEC", help="Examples that tell shapes and ranges; else random inputs."
)
@click.option(
    "--install", metavar="NAME", help="Instead: make the environment of a simulator, of --python if given."
)
@options_from(ProfileOptions)
@options_from(LearningOptions, "device")
@json_option
def profile(
    model: str | None,
    simulator: str | None,
    output: str | None,
    data: str | None,
    install: str | None,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Write what every multiply-accumulate of MODEL takes at every precision: latency and energy, by layer."""
    if install is not None:
        _install(install, options["python"], as_json)
        return
    if model is None or simulator is None or output is None:
        raise UsageError("profile needs MODEL, --with NAME and -o FILE (or --install NAME alone)")
    result = mpq_onnx.profile(
        model, output, simulator=simulator, data=data, options=ProfileOptions(**options), device=device
    )
    if as_json:
        print_json(result)
        return
    click.echo(f"{result.path}: {result.rows} rows, {result.nodes} nodes; {result.made_by}")
    for name, (least, most) in result.totals.items():
        span = f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
        click.echo(f"all nodes, {name}: {span}")
    for check in result.checks:
        error = 100 * (check.predicted_ms / check.measured_ms - 1)
        click.echo(
            f"{check.file}: layers sum up to {check.predicted_ms:.4g} ms, the file takes {check.measured_ms:.4g} ms"
            f" ({error:+.1f} %)"
        )
    again = f", {result.reused} known from an interrupted profile" if result.reused else ""
    click.echo(f"{result.simulated} measured or simulated{again}")
    print_notes(result.notes)


def _install(name: str, python: str | None, as_json: bool) -> None:
    from mpq_onnx.runs.profiling import install_simulator

    found = install_simulator(name, python)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{name} {found.version}: {found.python}")
