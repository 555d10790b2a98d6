"""Spend a budget where a model needs it."""

from typing import Any

import click

import mpq_onnx
from mpq_onnx.commands.option_types import FILE, FOLDER
from mpq_onnx.commands.printing import (
    print_check,
    print_json,
    print_limits,
    print_notes,
    print_parts,
    stored_text,
)
from mpq_onnx.commands.shared_options import (
    HeadedCommand,
    allocation_options,
    config_option,
    data_option,
    json_option,
    overwrite_option,
)
from mpq_onnx.errors import UsageError
from mpq_onnx.ranks import Ranks
from mpq_onnx.runs.energy_options import check_energy_budget
from mpq_onnx.runs.joining import joined_ranks
from mpq_onnx.runs.option_values import bits_request, noisy_requests
from mpq_onnx.runs.options import asked_budgets, check_budgets
from mpq_onnx.runs.target_options import noise_of_target

NAMED = (
    "model", "data", "output", "weight_bits", "activation_bits", "calibration", "validation", "resume", "overwrite"
)  # fmt: skip
"""Arguments of mpq_onnx.allocate and allocate_energy alike, beside the options."""


@click.command(cls=HeadedCommand)
@click.argument("model", type=FILE)
@config_option
@data_option
@click.option("-o", "--output", required=True, type=FOLDER, metavar="DIR", help="Folder for the results.")
@click.option(
    "--weight-bits",
    type=float,
    metavar="MEAN",
    help="Budget: mean bits a weight. Left out: weights stay float.",
)
@click.option(
    "--activation-bits",
    type=float,
    metavar="MEAN",
    help="Budget: mean bits an activation. Left out: they stay float.",
)
@click.option(
    "--energy-per-mac",
    type=float,
    metavar="MEAN",
    help="Budget with --noise: photons (shot), else relative.",
)
@allocation_options
@click.option(
    "--keep-candidates",
    is_flag=True,
    help="Write every candidate, uniform included, into DIR/candidates; not with --noise.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@overwrite_option
@json_option
def allocate(noise: tuple[str, ...], energy_per_mac: float | None, **arguments: Any) -> None:
    """Spend a budget where MODEL needs it: bits of weights and activations, or energy per MAC under physical noise.

    With --noise MODEL may be a quantized file; --weight-bits and --activation-bits quantize a float one first. Started by
    torchrun, the processes share the data between them.
    """
    with joined_ranks() as ranks:
        if energy_per_mac is not None and not noise:
            noise = noise_of_target(arguments["target"])
        if noise:
            _allocate_energy({**arguments, "noise": noise}, energy_per_mac, ranks)
            return
        if energy_per_mac is not None:
            raise UsageError("--energy-per-mac goes with --noise; give --noise thermal, shot or weight")
        _allocate_bits(arguments, ranks)


def _allocate_bits(arguments: dict[str, Any], ranks: Ranks) -> None:
    from mpq_onnx.report.tables import bits_text, node_table, result_table

    request = bits_request(arguments)  # before anything heavy is loaded
    budgets = asked_budgets(arguments["weight_bits"], arguments["activation_bits"], request)
    check_budgets(*budgets, request)
    named = {name: arguments[name] for name in (*NAMED, "keep_candidates")}
    result = mpq_onnx.allocate(**named, options=request, ranks=ranks)
    if not ranks.is_first:
        return
    if arguments["as_json"]:
        print_json(result)
        return
    chosen = result.chosen
    click.echo(node_table(chosen.allocation, result.nodes))
    rows = {each.name: each for each in result.candidates}
    click.echo(
        "\nvalidation data"
        + (", labels: the float model's" if chosen.evaluation.labels == "baseline" else "")
    )
    click.echo(result_table({name: (each.allocation, each.evaluation) for name, each in rows.items()}))
    print_parts(chosen.evaluation)
    settings = chosen.allocation.settings
    click.echo(
        f"\nkept: {chosen.name}, rounding {settings.rounding},"
        f" bias correction {'on' if settings.bias_correction else 'off'};"
        f" mean weight bits {bits_text(chosen.allocation.mean_weight_bits)},"
        f" mean activation bits {bits_text(chosen.allocation.mean_activation_bits)}"
    )
    print_limits(request.limits, chosen, result.uniform)
    print_notes(result.notes)
    print_check(result.mirror_check)
    click.echo(stored_text(result.model_path, result.bytes, result.storage, chosen.allocation))


def _allocate_energy(arguments: dict[str, Any], energy_per_mac: float | None, ranks: Ranks) -> None:
    from mpq_onnx.report.tables import energy_node_table, energy_result_table, energy_text

    if arguments["keep_candidates"]:
        raise UsageError("--keep-candidates is for bits alone; leave it out with --noise")
    energies, digital = noisy_requests(arguments)
    check_energy_budget(energy_per_mac, energies)
    named = {name: arguments[name] for name in NAMED}
    result = mpq_onnx.allocate_energy(
        **named, energy_per_mac=energy_per_mac, options=energies, digital=digital, ranks=ranks
    )
    if not ranks.is_first:
        return
    if arguments["as_json"]:
        print_json(result)
        return
    chosen = result.chosen
    click.echo(energy_node_table(chosen.allocation, result.nodes))
    click.echo("\nvalidation data, means over repeats with independent noise")
    click.echo(
        energy_result_table({each.name: (each.allocation, each.evaluation) for each in result.candidates})
    )
    print_parts(chosen.evaluation)
    click.echo(f"\nkept: {chosen.name}; {energy_text(chosen.allocation)}")
    print_limits(energies.limits, chosen, result.uniform)
    print_notes(result.notes)
    check = result.noise_check
    click.echo(
        f"noise at the outputs, {check.draws} draws on {check.examples} examples:"
        f" {check.onnxruntime_sqnr:.1f} dB in onnxruntime, {check.mirror_sqnr:.1f} dB in the mirror"
    )
    click.echo(f"{result.model_path}: {result.bytes:,} bytes")
