"""Quantize a model, or make it noisy, as a document says."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE, SPEC
from mpq_onnx.commands.printing import print_check, print_edited, print_json, print_notes, stored_text
from mpq_onnx.commands.shared_options import json_option, options_from
from mpq_onnx.errors import UsageError
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.options import AllocateOptions


@click.command()
@click.argument("model", type=FILE)
@click.argument("allocation", type=FILE)
@click.option(
    "-o", "--output", required=True, type=FILE, metavar="FILE", help="Where the quantized ONNX file goes."
)
@click.option(
    "--data",
    type=SPEC,
    metavar="SPEC",
    help="Needed for adaptive rounding, bias correction, and calibration.",
)
@click.option(
    "--calibration", type=FILE, metavar="FILE", help="Default: calibration.json beside the allocation."
)
@options_from(AllocateOptions, "target", "storage", "rounding_examples", "device", with_defaults=False)
@options_from(EnergyOptions, "noise_draws", with_defaults=False)
@json_option
def apply(
    model: str, allocation: str, output: str, noise_draws: str | None, as_json: bool, **given: Any
) -> None:
    """Quantize MODEL as ALLOCATION (allocation.json) says, or make it noisy (energy.json)."""
    options = {name: value for name, value in given.items() if value is not None}
    from mpq_onnx.documents.energy_allocation import EnergyAllocation
    from mpq_onnx.documents.loading import load_document
    from mpq_onnx.report.tables import energy_text

    if isinstance(load_document(allocation), EnergyAllocation):
        named = {name: options[name] for name in ("data", "device", "target") if name in options}
        noisy = mpq_onnx.apply_energy(model, allocation, output, noise_draws=noise_draws, **named)
        if as_json:
            print_json(noisy)
        else:
            print_edited(allocation, noisy.allocation)
            print_notes(noisy.notes)
            click.echo(f"{noisy.path}: {noisy.bytes:,} bytes; {energy_text(noisy.allocation)}")
        return
    if noise_draws is not None:
        raise UsageError(f"--noise-draws: {allocation} is of bits, and makes no noise")
    result = mpq_onnx.apply(model, allocation, output, **options)
    if as_json:
        print_json(result)
        return
    print_edited(allocation, result.allocation)
    print_notes(result.notes)
    if result.mirror_check is not None:
        print_check(result.mirror_check)
    click.echo(stored_text(result.path, result.bytes, result.storage, result.allocation))
