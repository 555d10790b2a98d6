"""Measure a model on data, and hold it to limits."""

import sys
from pathlib import Path
from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.exit_codes import GATE_FAILED
from mpq_onnx.commands.option_types import FILE, GATED_METRICS, Gate
from mpq_onnx.commands.printing import fields, print_json, print_notes, print_parts
from mpq_onnx.commands.shared_options import Choice, data_option, json_option, options_from
from mpq_onnx.registries import RESOURCES
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.learning_options import LearningOptions
from mpq_onnx.tasks import TASKS


@click.command()
@click.argument("model", type=FILE)
@data_option
@click.option(
    "--baseline", type=FILE, metavar="FILE", help="Compare with this file, usually the float model."
)
@click.option("--batch-size", default=64, show_default=True, help="Examples a run, at most.")
@click.option(
    "--min",
    "gates",
    type=Gate(),
    multiple=True,
    help="Exit with 1 below this, such as top1=0.90. Repeatable.",
)
@click.option(
    "--max",
    "ceilings",
    type=Gate((*GATED_METRICS, *RESOURCES)),
    multiple=True,
    help="Exit with 1 above this, such as log_loss=0.4, bytes=200000 or bops=6e8. Repeatable.",
)
@click.option(
    "--costs",
    type=FILE,
    metavar="FILE",
    is_eager=True,
    help="Cost table: count its columns too (docs/budgets.md).",
)
@click.option("--repeats", type=int, help="Passes with independent noise, for noisy files.  [default: 5]")
@click.option(
    "--task", type=Choice(TASKS), help="Metrics of this task, not of the file's own (docs/models.md)."
)
@click.option("--snr", is_flag=True, help="Signal to noise and noise-equivalent bits of every noisy node.")
@options_from(EnergyOptions, "noise_draws", with_defaults=False)
@options_from(LearningOptions, "seed", "device")
@json_option
def evaluate(
    model: str,
    data: str,
    gates: tuple[tuple[str, float], ...],
    ceilings: tuple[tuple[str, float], ...],
    snr: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure MODEL, float, quantized or noisy, on data."""
    from mpq_onnx.runs.gates import check_limit, judged

    for option, limits in (("--min", gates), ("--max", ceilings)):
        for metric, limit in limits:  # refused before anything heavy is loaded
            check_limit(option, metric, limit)
    from mpq_onnx.report.tables import (
        FLOAT_BASELINE,
        bits_text,
        energy_text,
        ratio_table,
        result_table,
        spread_text,
    )

    result = mpq_onnx.evaluate(model, data, signal_to_noise=snr, **options)
    verdicts = judged(result.evaluation, {"bytes": result.bytes, **result.resources}, gates, ceilings)
    if as_json:
        print_json({**fields(result), "gates": verdicts})
    else:
        rows = {Path(model).name: (result.widths, result.evaluation)}
        click.echo(result_table(rows, result.baseline or FLOAT_BASELINE))
        print_parts(result.evaluation)
        print_notes(result.notes)
        labels = {
            "data": "labels from the data",
            "baseline": "target: the baseline's predictions",
            "none": "no labels",
        }
        click.echo(f"\n{result.evaluation.examples} examples, {labels[result.evaluation.labels]}")
        click.echo(
            f"{result.evaluation.examples_per_second:.0f} examples per second; model {result.bytes:,} bytes,"
            f" {result.format}"
        )
        if result.allocation is not None:
            click.echo(
                f"mean weight bits {bits_text(result.allocation.mean_weight_bits)}, mean activation bits"
                f" {bits_text(result.allocation.mean_activation_bits)}, weights {result.allocation.weight_bytes:,} bytes"
                f" at their widths, {result.allocation.bit_operations / 1e9:.4g} GBOPs an example"
            )
        for name, amount in result.resources.items() if options["costs"] else ():
            click.echo(f"{name} {amount:.6g}")
        for name, spread in (result.evaluation.noise or {}).items():
            click.echo(f"{name} {spread_text(name, spread)}")
        if result.energy is not None:
            click.echo(energy_text(result.energy))
        if result.ratios is not None:
            click.echo(f"\n{ratio_table(result.ratios.nodes)}")
        for verdict in verdicts:
            click.echo(f"gate {'passed' if verdict.passed else 'failed'}: {verdict}")
    failed = [verdict for verdict in verdicts if not verdict.passed]
    for verdict in failed:
        click.echo(f"mpq-onnx: gate failed: {verdict}", err=True)
    if failed:
        sys.exit(GATE_FAILED)
