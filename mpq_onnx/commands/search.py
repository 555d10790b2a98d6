"""Find the smallest budget that reaches a metric."""

import sys
from collections.abc import Sequence
from typing import Any

import click

import mpq_onnx
from mpq_onnx.arithmetic.quantization import counted_bits
from mpq_onnx.commands.exit_codes import GATE_FAILED
from mpq_onnx.commands.option_types import FILE, FOLDER, SPEC, Gate
from mpq_onnx.commands.printing import print_json
from mpq_onnx.commands.shared_options import (
    HeadedCommand,
    allocation_options,
    config_option,
    data_option,
    json_option,
    overwrite_option,
    workers_options,
)
from mpq_onnx.errors import UsageError
from mpq_onnx.runs.option_values import bits_request, noisy_requests

NOTHING_ABOVE = (
    "no choice takes more: let activations or other layers have more (--activation-bits, --bit-choices, energies of a longer"
    " table), or lower the goal; `evaluate` says what the float file reaches"
)


@click.command(cls=HeadedCommand)
@click.argument("model", type=FILE)
@config_option
@data_option
@click.option("--test", required=True, type=SPEC, metavar="SPEC", help="Data that the goal is judged on.")
@click.option("-o", "--output", required=True, type=FOLDER, metavar="DIR", help="Folder for the probes.")
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
    "--minimize",
    metavar="RESOURCE",
    help="What is to be small: weight_bits (their mean), weight_bytes, activation_bytes, bops, or a column of --costs; with"
    " --noise energy_per_mac (their mean), or a column of --costs.  [default: weight_bits, energy_per_mac with --noise]",
)
@click.option(
    "--from",
    "low",
    type=float,
    help="Smallest budget.  [default: 0.1 with --noise, 2 bits, or the least that can be reached, such as 1 whole repeat]",
)
@click.option(
    "--to",
    "high",
    type=float,
    help="Largest budget.  [default: 1000 with --noise, 8 bits, or what the widest choices take]",
)
@click.option("--tolerance", default=0.02, show_default=True, help="Relative, of the budget.")
@click.option(
    "--weight-bits",
    type=float,
    metavar="MEAN",
    help="Fixed, while a resource is minimized; with --noise: quantizes a float MODEL first.",
)
@click.option(
    "--activation-bits",
    type=float,
    metavar="MEAN",
    help="Fixed, while weight bits are searched; with --noise: quantizes a float MODEL first.",
)
@workers_options
@allocation_options
@overwrite_option
@json_option
def search(
    goals: tuple[tuple[str, float], ...],
    drops: tuple[tuple[str, float], ...],
    noise: tuple[str, ...],
    minimize: str | None,
    low: float | None,
    high: float | None,
    tolerance: float,
    per_channel: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Find the smallest budget at which MODEL still reaches a metric: of weight bits or another resource, or with --noise of
    energy per MAC.

    Probes are kept in DIR; the same command goes on from them. Several workers do as many probes at once.
    """
    from mpq_onnx.report.tables import probe_table
    from mpq_onnx.runs.searching import usual_energies  # imports torch

    if noise:
        energies, digital = noisy_requests({**arguments, "noise": noise, "per_channel": per_channel})
    else:
        widths = bits_request({**arguments, "per_channel": per_channel})
    weight_bits, calibration = arguments.pop("weight_bits"), arguments.pop("calibration")
    named = (
        "model", "data", "test", "output", "activation_bits", "validation", "jobs", "cluster", "overwrite"
    )  # fmt: skip
    request = {
        **{name: arguments.pop(name) for name in named},
        "goals": (
            *(mpq_onnx.Goal(metric, least) for metric, least in goals),
            *(mpq_onnx.Drop(metric, most) for metric, most in drops),
        ),
    }
    if noise:
        if minimize in (None, "energy_per_mac"):
            ends = usual_energies(energies, tolerance)
        elif low is not None and high is not None:
            ends = mpq_onnx.Interval(low, high, tolerance)
        else:
            if (weight_bits, request["activation_bits"]) != (None, None):
                raise UsageError(
                    f"--minimize {minimize}: give --from and --to, or quantize MODEL before; what the energies of a"
                    " network can take hangs on its widths"
                )
            ends = mpq_onnx.energy_interval(
                request["model"], request["data"], minimize, energies, tolerance=tolerance
            )
        interval = _interval(low, high, ends)
        result = mpq_onnx.search_energy(
            **request,
            interval=interval,
            options=energies,
            minimize=minimize or "energy_per_mac",
            weight_bits=weight_bits,
            calibration=calibration,
            digital=digital,
        )
    else:
        ends = mpq_onnx.Interval(*_usual_ends(widths.bit_choices), tolerance)
        if minimize not in (None, "weight_bits"):
            ends = mpq_onnx.resource_interval(
                request["model"], request["data"], minimize, widths, weight_bits=weight_bits,
                activation_bits=request["activation_bits"], tolerance=tolerance,
            )  # fmt: skip
        interval = _interval(low, high, ends)
        result = mpq_onnx.search_bits(
            **request,
            interval=interval,
            options=widths,
            minimize=minimize or "weight_bits",
            weight_bits=weight_bits,
            calibration=calibration,
        )
    if as_json:
        print_json(result)
    else:
        click.echo(probe_table(result.probes))
        if result.best is not None:
            click.echo(
                f"\nsmallest budget that reaches the goal: {result.best.budget:g}; {result.model_path}"
            )
    if result.best is None:
        is_open = interval.high < ends.high or minimize == "energy_per_mac" or (noise and minimize is None)
        click.echo(
            f"mpq-onnx: goal not reached up to a budget of {interval.high:g}; "
            + ("raise --to" if is_open else NOTHING_ABOVE),
            err=True,
        )
        sys.exit(GATE_FAILED)


def _usual_ends(choices: Sequence[float]) -> tuple[float, float]:
    """Mean widths to search between: 2 to 8 bits, or what the choices leave of that."""
    counted = [counted_bits(width) for width in choices]
    low, high = max(min(counted), 2.0), min(max(counted), 8.0)
    return (low, high) if low < high else (2.0, 8.0)


def _interval(low: float | None, high: float | None, default: "mpq_onnx.Interval") -> "mpq_onnx.Interval":
    """What was given of the ends."""
    return mpq_onnx.Interval(
        default.low if low is None else low, default.high if high is None else high, default.tolerance
    )
