"""The command line: parse, call the API, print. Exit codes: 0 fine, 1 a gate failed, 2 wrong usage, 3 unusable input."""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import mpq_onnx
from mpq_onnx.command_options import (
    HeadedCommand,
    allocation_options,
    config_option,
    data_option,
    json_option,
    options_from,
)
from mpq_onnx.errors import MpqOnnxError, UsageError
from mpq_onnx.option_types import Gate
from mpq_onnx.progress import stage_lines
from mpq_onnx.workflows.learning_options import LearningOptions
from mpq_onnx.workflows.option_values import bits_request, noisy_requests
from mpq_onnx.workflows.options import AllocateOptions

GATE_FAILED = 1
INTERRUPTED = 130
SHOWN_TENSORS = 20
"""Of a comparison by node."""
LONGEST_FACT = 200
"""Characters of a fact about a model that are shown."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; every error of the user's ends in one line on stderr."""
    logging.getLogger().addHandler(logging.NullHandler())  # libraries log what is then raised, and said once
    try:
        with stage_lines():
            status = cli.main(args=arguments, prog_name="mpq-onnx", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mpq-onnx"
        click.echo(f"mpq-onnx: {error.format_message()} (see {command} --help)", err=True)
        sys.exit(error.exit_code)
    except MpqOnnxError as error:
        click.echo(f"mpq-onnx: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("mpq-onnx: interrupted; nothing that existed was changed", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(mpq_onnx.__version__, prog_name="mpq-onnx")
def cli() -> None:
    """Mixed precision for ONNX: find the precision every node needs, and write an ONNX file that runs."""


@cli.command()
@click.argument("source")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the canonical ONNX file goes.")
@click.option("--weights", metavar="FILE", help="A state dict (torch or safetensors) for a named model.")
@click.option("--pretrained", is_flag=True, help="The library's own weights, downloaded; else random ones.")
@click.option("--task", help="Of a transformer: sequence-classification, ...; of others: what outputs mean.")
@click.option("--sequence-length", default=128, show_default=True, help="Tokens of a transformer's input.")
@click.option("--seed", default=0, show_default=True, help="Of random weights.")
@click.option(
    "--preprocess", metavar="OPTIONS", help='Kept in the file, such as "layout=nhwc&mean=0.5&std=0.25".'
)
@click.option(
    "--check",
    metavar="SPEC",
    help="Data for the numeric check.  [default: random, open axes of length 32, or more where that is too short]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Make an input a constant (a number, a list with commas, a file.npy), or give an open axis its length. Repeatable.",
)
@json_option
def export(source: str, output: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write SOURCE as canonical float ONNX.

    SOURCE: an ONNX file, torchvision:NAME, pytorchcv:NAME, transformers:DIR_OR_NAME, dlrm?numeric=13&..., or
    python:package.module:factory. `mpq-onnx models` lists the names.
    """
    from mpq_onnx.workflows.fixed_values import split_settings

    result = mpq_onnx.export(source, output, values=split_settings(settings), **options)
    if as_json:
        _print_json(result)
        return
    click.echo(f"{result.path}: {result.nodes} nodes, {result.bytes:,} bytes")
    click.echo(
        f"largest difference from the source on random input: {result.largest_difference:.3g}"
        f" (outputs up to {result.largest_output:.3g})"
    )
    _print_notes(result.notes)
    if result.fixed_batch is not None:
        click.echo(f"batch size: {result.fixed_batch} only; allocate wants a model for any")
    for key, text in result.metadata.items():
        click.echo(f"{key}: {text if len(text) <= LONGEST_FACT else f'{len(text):,} characters'}")


@cli.command()
@click.argument("pattern", default="")
@json_option
def models(pattern: str, as_json: bool) -> None:
    """List the models that export knows by name; PATTERN keeps those that contain it."""
    named = mpq_onnx.models(pattern)
    if as_json:
        _print_json(named)
        return
    for kind, names in named.items():
        click.echo(f"{kind}: {', '.join(names) or 'none'}")


@cli.command()
@click.argument("model")
@data_option
@click.option("-o", "--output", required=True, metavar="FILE", help="Where calibration.json goes.")
@options_from(AllocateOptions, "observer", "placement", "activation_scheme", "equalization", "seed", "device")
def calibrate(model: str, data: str, output: str, **options: Any) -> None:
    """Measure the activation ranges of MODEL."""
    result = mpq_onnx.calibrate(model, data, output, **options)
    click.echo(
        f"{output}: {len(result.tensors)} activations, {result.examples} examples, observer {result.observer}"
    )


@cli.command(cls=HeadedCommand)
@click.argument("model")
@config_option
@data_option
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder for the results.")
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
    "--keep-candidates", is_flag=True, help="Write every candidate, uniform included, into DIR/candidates."
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@json_option
def allocate(
    noise: tuple[str, ...], energy_per_mac: float | None, per_channel: bool, **arguments: Any
) -> None:
    """Spend a budget where MODEL needs it: bits of weights and activations, or energy per MAC under physical noise.

    With --noise MODEL may be a quantized file; --weight-bits and --activation-bits quantize a float one first.
    """
    if not noise:
        for option, given in (
            ("--energy-per-mac", energy_per_mac is not None),
            ("--per-channel", per_channel),
        ):
            if given:
                raise UsageError(f"{option} goes with --noise; give --noise thermal, shot or weight")
        _allocate_bits(**arguments)
        return
    if energy_per_mac is None:
        raise UsageError("--noise: give --energy-per-mac, the mean that may be spent")
    _allocate_energy(noise, energy_per_mac, per_channel, **arguments)


def _allocate_bits(
    model: str,
    data: str,
    output: str,
    weight_bits: float | None,
    activation_bits: float | None,
    calibration: str | None,
    validation: str | None,
    keep_candidates: bool,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from mpq_onnx.report.tables import bits_text, node_table, result_table

    result = mpq_onnx.allocate(
        model,
        data,
        output,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        calibration=calibration,
        validation=validation,
        keep_candidates=keep_candidates,
        resume=resume,
        options=bits_request(options),
    )
    if as_json:
        _print_json(result)
        return
    chosen = result.chosen
    click.echo(node_table(chosen.allocation, result.nodes))
    rows = {each.name: each for each in result.candidates}
    click.echo(
        "\nvalidation data"
        + (", labels: the float model's" if chosen.evaluation.labels == "baseline" else "")
    )
    click.echo(result_table({name: (each.allocation, each.evaluation) for name, each in rows.items()}))
    _print_parts(chosen.evaluation)
    settings = chosen.allocation.settings
    click.echo(
        f"\nkept: {chosen.name}, rounding {settings.rounding},"
        f" bias correction {'on' if settings.bias_correction else 'off'};"
        f" mean weight bits {bits_text(chosen.allocation.mean_weight_bits)},"
        f" mean activation bits {bits_text(chosen.allocation.mean_activation_bits)}"
    )
    _print_notes(result.notes)
    _print_check(result.mirror_check)
    click.echo(_stored(result.model_path, result.bytes, result.storage, chosen.allocation))


def _allocate_energy(
    noise: tuple[str, ...],
    energy_per_mac: float,
    per_channel: bool,
    model: str,
    data: str,
    output: str,
    weight_bits: float | None,
    activation_bits: float | None,
    calibration: str | None,
    validation: str | None,
    keep_candidates: bool,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from mpq_onnx.report.tables import energy_node_table, energy_result_table, energy_text

    if calibration is not None or keep_candidates:
        raise UsageError(
            "--calibration and --keep-candidates are for bits alone; leave them out with --noise"
        )
    energies, digital = noisy_requests({**options, "noise": noise, "per_channel": per_channel})
    result = mpq_onnx.allocate_energy(
        model,
        data,
        output,
        energy_per_mac=energy_per_mac,
        options=energies,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        digital=digital,
        validation=validation,
        resume=resume,
    )
    if as_json:
        _print_json(result)
        return
    chosen = result.chosen
    click.echo(energy_node_table(chosen.allocation, result.nodes))
    click.echo("\nvalidation data, means over repeats with independent noise")
    click.echo(
        energy_result_table({each.name: (each.allocation, each.evaluation) for each in result.candidates})
    )
    _print_parts(chosen.evaluation)
    click.echo(f"\nkept: {chosen.name}; {energy_text(chosen.allocation)}")
    _print_notes(result.notes)
    check = result.noise_check
    click.echo(
        f"noise at the outputs, {check.examples} examples: {check.onnxruntime_sqnr:.1f} dB in onnxruntime,"
        f" {check.mirror_sqnr:.1f} dB in the mirror"
    )
    click.echo(f"{result.model_path}: {result.bytes:,} bytes")


@cli.command()
@click.argument("model")
@click.argument("allocation")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the quantized ONNX file goes.")
@click.option(
    "--data", metavar="SPEC", help="Needed for adaptive rounding, bias correction, and calibration."
)
@click.option("--calibration", metavar="FILE", help="Default: calibration.json beside the allocation.")
@options_from(AllocateOptions, "storage", "rounding_examples", "device")
@json_option
def apply(model: str, allocation: str, output: str, as_json: bool, **options: Any) -> None:
    """Quantize MODEL as ALLOCATION (allocation.json) says, or make it noisy (energy.json)."""
    from mpq_onnx.energy_allocation import FORMAT
    from mpq_onnx.json_document import document_format
    from mpq_onnx.report.tables import energy_text

    if document_format(allocation) == FORMAT:
        noisy = mpq_onnx.apply_energy(
            model, allocation, output, data=options["data"], device=options["device"]
        )
        if as_json:
            _print_json(noisy)
        else:
            _print_edited(allocation, noisy.allocation)
            click.echo(f"{noisy.path}: {noisy.bytes:,} bytes; {energy_text(noisy.allocation)}")
        return
    result = mpq_onnx.apply(model, allocation, output, **options)
    if as_json:
        _print_json(result)
        return
    _print_edited(allocation, result.allocation)
    _print_notes(result.notes)
    if result.mirror_check is not None:
        _print_check(result.mirror_check)
    click.echo(_stored(result.path, result.bytes, result.storage, result.allocation))


@cli.command()
@click.argument("model")
@data_option
@click.option("--baseline", metavar="FILE", help="Compare with this file, usually the float model.")
@click.option("--batch-size", default=64, show_default=True, help="Examples a run.")
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
    type=Gate(),
    multiple=True,
    help="Exit with 1 above this, such as log_loss=0.4 or bytes=200000. Repeatable.",
)
@click.option("--repeats", type=int, help="Passes with independent noise, for noisy files.  [default: 5]")
@click.option("--seed", default=0, show_default=True, help="Of the noise.")
@click.option("--task", help="Metrics of this task, not of the file's own (docs/models.md).")
@click.option("--snr", is_flag=True, help="Signal to noise and noise-equivalent bits of every noisy node.")
@options_from(LearningOptions, "device")
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
    from mpq_onnx.report.tables import bits_text, energy_text, ratio_table, result_table, spread_text
    from mpq_onnx.workflows.gates import judged

    result = mpq_onnx.evaluate(model, data, signal_to_noise=snr, **options)
    verdicts = judged(result.evaluation, result.bytes, gates, ceilings)
    if as_json:
        _print_json({**_fields(result), "gates": verdicts})
    else:
        click.echo(result_table({Path(model).name: (result.widths, result.evaluation)}))
        _print_parts(result.evaluation)
        _print_notes(result.notes)
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


@cli.command()
@click.argument("exact")
@click.argument("changed")
@data_option
@click.option("--all", "everything", is_flag=True, help=f"Show every tensor, not the {SHOWN_TENSORS} worst.")
@options_from(LearningOptions, "device")
@json_option
def compare(exact: str, changed: str, data: str, everything: bool, device: str, as_json: bool) -> None:
    """Compare two files of a network by node.

    Shows the SQNR of the tensors of CHANGED (a quantized file) against EXACT (the float file) on the same data.
    """
    from mpq_onnx.report.tables import noise_table

    noises = mpq_onnx.compare(exact, changed, data, device=device)
    if as_json:
        _print_json({"nodes": noises})
    else:
        click.echo(noise_table(noises, None if everything else SHOWN_TENSORS))


@cli.command(cls=HeadedCommand)
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
    required=True,
    help="What is to be reached, such as top1=0.90. Repeatable.",
)
@click.option("--from", "low", type=float, help="Smallest budget.  [default: 0.1 with --noise, else 2]")
@click.option("--to", "high", type=float, help="Largest budget.  [default: 1000 with --noise, else 8]")
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

    ends = (0.1, 1000.0) if noise else (2.0, 8.0)
    interval = mpq_onnx.Interval(
        ends[0] if low is None else low, ends[1] if high is None else high, tolerance
    )
    weight_bits, calibration = arguments.pop("weight_bits"), arguments.pop("calibration")
    named = ("model", "data", "test", "output", "activation_bits", "validation")
    request = {
        **{name: arguments.pop(name) for name in named},
        "goals": tuple(mpq_onnx.Goal(metric, least) for metric, least in goals),
        "interval": interval,
    }
    if noise:
        if calibration is not None:
            raise UsageError("--calibration is for bits alone; leave it out with --noise")
        energies, digital = noisy_requests({**arguments, "noise": noise, "per_channel": per_channel})
        result = mpq_onnx.search_energy(**request, options=energies, weight_bits=weight_bits, digital=digital)
    else:
        if weight_bits is not None:
            raise UsageError("--weight-bits is what a search without --noise finds; give --from and --to")
        if per_channel:
            raise UsageError("--per-channel goes with --noise; for widths give --granularity channel")
        result = mpq_onnx.search_bits(**request, options=bits_request(arguments), calibration=calibration)
    if as_json:
        _print_json(result)
    else:
        click.echo(probe_table(result.probes))
        if result.best is not None:
            click.echo(
                f"\nsmallest budget that reaches the goal: {result.best.budget:g}; {result.model_path}"
            )
    if result.best is None:
        click.echo(f"mpq-onnx: goal not reached up to a budget of {interval.high:g}; raise --to", err=True)
        sys.exit(GATE_FAILED)


@cli.command()
@click.argument("model")
@data_option
@click.option("-o", "--output", required=True, metavar="FILE", help="Where allocation.json goes.")
@click.option(
    "--noise-to-bits", is_flag=True, required=True, help="Activations get their noise-equivalent bits."
)
@options_from(LearningOptions, "device")
@json_option
def convert(model: str, data: str, output: str, noise_to_bits: bool, device: str, as_json: bool) -> None:
    """Make a digital allocation of a noisy MODEL, for apply."""
    from mpq_onnx.report.tables import bits_text

    allocation = mpq_onnx.noise_to_bits(model, data, output, device=device)
    if as_json:
        _print_json(allocation)
        return
    click.echo(
        f"{output}: mean weight bits {bits_text(allocation.mean_weight_bits)}, mean activation bits"
        f" {bits_text(allocation.mean_activation_bits)}"
    )


@cli.command()
@click.argument("model")
@click.argument("other", required=False)
@json_option
def card(model: str, other: str | None, as_json: bool) -> None:
    """Print the quantization card of MODEL, whoever made it; with OTHER, what the two do not share."""
    from mpq_onnx.report.card_text import card_markdown, differences
    from mpq_onnx.report.tables import difference_table

    first = mpq_onnx.card(model)
    if other is None:
        if as_json:
            _print_json(first)
        else:
            click.echo(card_markdown(first, Path(model).name))
        return
    found = differences(first, mpq_onnx.card(other))
    if as_json:
        keys = ("section", "field", model, other)
        _print_json({"differences": [dict(zip(keys, each, strict=True)) for each in found]})
        return
    click.echo(difference_table(found, model, other) if found else "no difference")


@cli.command()
@click.argument("model")
@click.option("--to", required=True, help="qonnx, qcdq, zigzag, timeloop, csv, json, tensorrt or ort.")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder to write into.")
@click.option(
    "--data", metavar="SPEC", help="For golden tensors, histograms, measured noise; else random inputs."
)
@click.option("--examples", default=4, show_default=True, help="Golden examples.")
@options_from(LearningOptions, "device")
@json_option
def handoff(model: str, output: str, as_json: bool, **options: Any) -> None:
    """Write MODEL in the format of another tool (docs/handoff.md), with golden tensors and the card."""
    result = mpq_onnx.handoff(model, output, **options)
    if as_json:
        _print_json(result)
        return
    for path, size in result.files.items():
        if not path.startswith("golden"):
            click.echo(f"{output}/{path}: {size:,} bytes")
    click.echo(f"{output}/golden: {result.golden_examples} examples")
    if result.largest_difference is not None:
        click.echo(
            f"largest difference of its outputs from the golden ones in onnxruntime: {result.largest_difference:g}"
        )
    _print_notes(result.notes)


@cli.command()
@click.argument("model")
@click.option("--config", required=True, metavar="FILE", help="YAML, TOML or JSON (docs/sweep.md).")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder for all runs.")
@click.option("--jobs", default=1, show_default=True, help="Processes.")
@json_option
def sweep(model: str, config: str, output: str, jobs: int, as_json: bool) -> None:
    """Allocate MODEL for every combination of lists of options, budgets, noise models and seeds.

    Finished runs are kept in DIR; the same command goes on from them.
    """
    from mpq_onnx.configuration import read_configuration
    from mpq_onnx.report.tables import sweep_table

    result = mpq_onnx.sweep(model, read_configuration(config), output, jobs=jobs)
    if as_json:
        _print_json(result)
    else:
        click.echo(sweep_table(result.rows))
        click.echo(
            f"\n{len(result.rows)} runs in {output}/results.csv and results.jsonl; * is on the Pareto front"
        )
    if result.failed:
        click.echo(f"mpq-onnx: {result.failed} runs failed; results.csv says why", err=True)
        sys.exit(GATE_FAILED)


@cli.command()
@click.argument("folder")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the HTML page goes.")
@click.option("--figures", metavar="DIR", help="Write every figure as a file, too.")
@click.option("--figure-format", default="svg", show_default=True, help="svg or png.")
@click.option("--title", help="Of the page.  [default: the folder's name]")
@json_option
def report(folder: str, output: str, as_json: bool, **options: Any) -> None:
    """Write one self-contained HTML page of what allocate or sweep left in FOLDER."""
    result = mpq_onnx.report_folder(folder, output, **options)
    if as_json:
        _print_json(result)
        return
    click.echo(f"{result.path}: {result.bytes:,} bytes, {result.runs} runs")
    for path in result.figures:
        click.echo(path)


def _fields(result: Any) -> dict[str, Any]:
    """A result's own fields, of which another may stand beside them."""
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def _print_json(result: Any) -> None:
    from mpq_onnx.report.as_json import to_json

    click.echo(to_json(result))


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"NOTE: {note}")


def _print_edited(path: str, allocation: Any) -> None:
    """Say where the entries are not those that the method in the document had made."""
    from mpq_onnx.json_document import EDITED

    if allocation.settings.method == EDITED:
        click.echo(f"NOTE: {path} was edited by hand after it was written; the file's method is {EDITED!r}")


def _print_check(check: Any) -> None:
    outputs = ""
    if check.optimized_sqnr is not None:
        outputs = (
            f" outputs {check.optimized_sqnr:.1f} dB optimized, {check.unoptimized_sqnr:.1f} dB unoptimized,"
        )
    click.echo(
        f"onnxruntime against the mirror, {check.examples} examples: every node agrees;{outputs}"
        f" {100 * check.same_predictions:.1f} % same predictions"
    )


def _print_parts(evaluation: Any) -> None:
    """A line an output and part, where there are several."""
    from mpq_onnx.report.tables import part_table

    parts = evaluation.comparison.parts if evaluation.comparison is not None else ()
    if len(parts) > 1:
        click.echo(f"\n{part_table(parts)}")


def _stored(path: str, size: int, storage: str, allocation: Any) -> str:
    return (
        f"{path}: {size:,} bytes, weights stored as {storage}; {allocation.weight_bytes:,} bytes at their widths,"
        f" {allocation.bit_operations / 1e9:.4g} GBOPs an example"
    )


if __name__ == "__main__":
    main()


__all__ = ["cli", "main"]
