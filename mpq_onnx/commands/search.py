"""Find the smallest budget that reaches a metric."""

import sys
from collections.abc import Sequence
from typing import Any

import click

import mpq_onnx
from mpq_onnx.arithmetic.quantization import counted_bits
from mpq_onnx.commands.exit_codes import GATE_FAILED
from mpq_onnx.commands.option_types import Gate
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import (
    HeadedCommand,
    allocation_options,
    config_option,
    data_option,
    json_option,
)
from mpq_onnx.errors import UsageError
from mpq_onnx.runs.option_values import bits_request, noisy_requests


@click.command(cls=HeadedCommand)
@click.argument("model")
@config_option
@data_option
@click.option("--test", required=True, metavar="SPEC", help="Data that the goal is judged on.")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder for the probes.")
@click.option(
    "--min",
    "goals",
    type=Gate(),
    multiple=True,
    help="What is to be reached, such as top1=0.90. Repeatable.",
)
@click.option(
    "--max-drop",
    "drops",
    type=Gate(),
    multiple=True,
    help="What may be lost against the float (or noise-free) model, such as top1=0.01. Repeatable.",
)
@click.option(
    "--from",
    "low",
    type=float,
    help="Smallest budget.  [default: 0.1 with --noise, else 2 or the narrowest choice]",
)
@click.option(
    "--to",
    "high",
    type=float,
    help="Largest budget.  [default: 1000 with --noise, else 8 or the widest choice]",
)
@click.option("--tolerance", default=0.02, show_default=True, help="Relative, of the budget.")
@click.option(
    "--weight-bits", type=float, metavar="MEAN", help="With --noise: quantizes a float MODEL first."
)
@click.option(
    "--activation-bits",
    type=float,
    metavar="MEAN",
    help="Fixed, while weight bits are searched; with --noise: quantizes a float MODEL first.",
)
@allocation_options
@json_option
def search(
    goals: tuple[tuple[str, float], ...],
    drops: tuple[tuple[str, float], ...],
    noise: tuple[str, ...],
    low: float | None,
    high: float | None,
    tolerance: float,
    per_channel: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Find the smallest budget at which MODEL still reaches a metric: mean weight bits, or energy per MAC with --noise.

    Probes are kept in DIR; the same command goes on from them.
    """
    from mpq_onnx.report.tables import probe_table

    if noise:
        energies, digital = noisy_requests({**arguments, "noise": noise, "per_channel": per_channel})
    else:
        widths = bits_request({**arguments, "per_channel": per_channel})
    ends = (0.1, 1000.0) if noise else _usual_ends(widths.bit_choices)
    interval = mpq_onnx.Interval(
        ends[0] if low is None else low, ends[1] if high is None else high, tolerance
    )
    weight_bits, calibration = arguments.pop("weight_bits"), arguments.pop("calibration")
    named = ("model", "data", "test", "output", "activation_bits", "validation")
    request = {
        **{name: arguments.pop(name) for name in named},
        "goals": (
            *(mpq_onnx.Goal(metric, least) for metric, least in goals),
            *(mpq_onnx.Drop(metric, most) for metric, most in drops),
        ),
        "interval": interval,
    }
    if noise:
        if calibration is not None:
            raise UsageError("--calibration is for bits alone; leave it out with --noise")
        result = mpq_onnx.search_energy(**request, options=energies, weight_bits=weight_bits, digital=digital)
    else:
        if weight_bits is not None:
            raise UsageError("--weight-bits is what a search without --noise finds; give --from and --to")
        result = mpq_onnx.search_bits(**request, options=widths, calibration=calibration)
    if as_json:
        print_json(result)
    else:
        click.echo(probe_table(result.probes))
        if result.best is not None:
            click.echo(
                f"\nsmallest budget that reaches the goal: {result.best.budget:g}; {result.model_path}"
            )
    if result.best is None:
        click.echo(f"mpq-onnx: goal not reached up to a budget of {interval.high:g}; raise --to", err=True)
        sys.exit(GATE_FAILED)


def _usual_ends(choices: Sequence[float]) -> tuple[float, float]:
    """Mean widths to search between: 2 to 8 bits, or what the choices leave of that."""
    counted = [counted_bits(width) for width in choices]
    low, high = max(min(counted), 2.0), min(max(counted), 8.0)
    return (low, high) if low < high else (min(counted), max(counted))
