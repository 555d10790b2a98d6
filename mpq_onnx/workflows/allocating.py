"""allocate: find the widths that a budget is best spent on, and write the quantized file."""

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch

from mpq_onnx.allocators import Budget, Problem, TrainingData, TrainingSettings
from mpq_onnx.allocators.uniform import NAME as UNIFORM
from mpq_onnx.allocators.uniform import WHOLE_NAME as WHOLE_UNIFORM
from mpq_onnx.calibration import Calibration
from mpq_onnx.configuration import configuration_text
from mpq_onnx.datasets import Dataset
from mpq_onnx.datasets.class_names import label_notes
from mpq_onnx.errors import UsageError
from mpq_onnx.files import write_text
from mpq_onnx.graph.differentiable_outputs import differentiable_outputs
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import with_outputs
from mpq_onnx.model_file import save_model
from mpq_onnx.placement import find_sites
from mpq_onnx.quantization import levels_of, stored_bits
from mpq_onnx.quantized_network import DYNAMIC
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.card import bias_notes, make_card
from mpq_onnx.report.card_text import write_card
from mpq_onnx.report.provenance import DataFacts, Provenance, embed_provenance
from mpq_onnx.rounding.network import FLOAT_BIAS
from mpq_onnx.runtime.comparison import NodeNoise, compare_tensors
from mpq_onnx.runtime.tensors import tensor_facts
from mpq_onnx.shared_work import SharedWork
from mpq_onnx.weights import WeightRules
from mpq_onnx.workflows.applying import CALIBRATION_FILE
from mpq_onnx.workflows.float_notes import check_quantizable, float_notes, has_weights
from mpq_onnx.workflows.keeping import best_of, chosen_widths, is_storable
from mpq_onnx.workflows.mirror_check import MirrorCheck, check_against_mirror, check_notes
from mpq_onnx.workflows.options import AllocateOptions, beyond_choices, check_budgets, leaves_no_choice
from mpq_onnx.workflows.output_notes import output_notes
from mpq_onnx.workflows.preparation import (
    CalibrationRules,
    FloatModel,
    check_covers,
    equalized,
    load_float_model,
    measure_calibration,
    read_calibration,
)
from mpq_onnx.workflows.quantizing import (
    torch_device,
)
from mpq_onnx.workflows.requests import contents_of, file_state, request_text
from mpq_onnx.workflows.run_folder import LOG_FILE, progress_folder, publish, split_validation, training_log
from mpq_onnx.workflows.unspent import unspent_notes
from mpq_onnx.workflows.width_bench import CandidateResult, WidthBench

ALLOCATION_FILE = "allocation.json"
MODEL_FILE = "model.onnx"
RESULT_FILE = "result.json"
CONFIGURATION_FILE = "config.yaml"
CANDIDATES_FOLDER = "candidates"
COMPARED_EXAMPLES = 256
UNIFORMS = (UNIFORM, WHOLE_UNIFORM)


@dataclass(frozen=True)
class AllocateResult:
    """What was found and written."""

    folder: str
    model_path: str
    bytes: int
    storage: str
    chosen: CandidateResult
    uniform: CandidateResult
    """The baseline at the same budget, with the same rounding: the most levels that the budget allows."""
    uniform_whole: CandidateResult | None
    """The whole width below it, where it has a fractional one."""
    candidates: tuple[CandidateResult, ...]
    """All that were measured, these first; `chosen` is the best of them (see workflows.keeping)."""
    mirror_check: MirrorCheck
    nodes: tuple[NodeNoise, ...]
    """SQNR of every node's output."""
    loses_to_uniform: bool
    """True when what the asked-for method found was worse than uniform, which is kept instead."""
    notes: tuple[str, ...] = ()
    """What is not as it was asked for, one line each."""


@torch.enable_grad()
def allocate(
    model: str | os.PathLike[str],
    data: str,
    output: str | os.PathLike[str],
    *,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    calibration: str | os.PathLike[str] | None = None,
    validation: str | None = None,
    keep_candidates: bool = False,
    resume: bool = False,
    options: AllocateOptions | None = None,
    shared: SharedWork | None = None,
) -> AllocateResult:
    """Allocate bit widths under budgets; write allocation.json, model.onnx, its card and what was measured.

    Args:
        model: the float ONNX file.
        data: data spec for calibration and training.
        output: the folder to write into; made when missing.
        weight_bits: budget for the mean width of the weights; None leaves them float.
        activation_bits: the same for the activations.
        calibration: a calibration.json of this model to reuse.
        validation: data spec for choosing between candidates; a quarter of `data`, drawn by the seed, when omitted.
        keep_candidates: write every measured candidate, uniform included, as candidates/NAME.onnx too.
        resume: go on with an interrupted run of the same request in the same folder.
        shared: what earlier allocations of the same model have made already, in this process.

    Raises:
        UsageError: an option that is none, or a budget out of reach (found before any work starts).
        MpqOnnxError: see its other subclasses.
    """
    options = options or AllocateOptions()
    check_budgets(weight_bits, activation_bits, options)
    shared = shared or SharedWork()
    source = file_state(model)
    float_model = shared.once(("model", source), lambda: load_float_model(model))
    device = torch_device(options.device)
    # Unknown operators are refused before any work starts.
    mirror = shared.once(("mirror", source, device), lambda: _mirror(float_model.model, float_model, device))
    # Opened for every allocation, though their examples are shared: a file may have changed since.
    dataset = float_model.open_data(data)
    held_out_set = float_model.open_data(validation) if validation is not None else None
    contents = contents_of(float_model, calibration, data=dataset, validation=held_out_set)
    shared = shared.part((source, *contents.items(), data, validation))
    sets = shared.once(("sets", options.seed), lambda: split_validation(dataset, held_out_set, options.seed))
    training_set, validation_set = sets[0].first(options.training_examples), sets[1]
    folder = Path(output)
    request = request_text(
        contents,
        options,
        data=data,
        validation=validation,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
    )
    with progress_folder(folder, request, resume) as progress:
        calibrated = shared.once(
            ("calibration", *_calibration_choices(options)),
            lambda: _calibration(float_model, training_set, options, calibration, progress),
        )
        # Everything that the calibration, and with it the equalized network, depends on.
        factors = tuple(calibrated.channel_factors.items())
        bound = shared.part((device, factors, *_drawn(options)))
        scaled = bound.once(
            "model", lambda: equalized(float_model.model, calibrated.channel_factors, calibrated.shapes)
        )
        if scaled is not float_model.model:
            mirror = bound.once("mirror", lambda: _mirror(scaled, float_model, device))
        layouts = bound.once("layouts", lambda: tensor_facts(scaled, training_set, options.device).layouts)
        trained = with_outputs(mirror, differentiable_outputs(scaled))
        sites = find_sites(
            scaled, calibrated.shapes, options.placement, options.embedding_bits, options.first_last, layouts
        )
        check_covers(calibrated, sites, str(calibration or data))
        lacking = check_quantizable(sites, weight_bits, activation_bits, str(model))
        problem = Problem(
            mirror=trained,
            sites=sites,
            calibration=calibrated,
            weight_rules=WeightRules(options.weight_observer, options.weight_scheme, options.weight_scales),
            budget=_budget(weight_bits if has_weights(sites) else None, activation_bits, options),
            training=TrainingSettings(
                options.steps,
                options.batch_size,
                options.learning_rate,
                options.penalty,
                options.seed,
                options.labels,
                options.width_choice,
                options.learned_ranges,
            ),
            data=bound.once("training", lambda: TrainingData(training_set, trained, device)),
            log=training_log(progress / LOG_FILE),
            checkpoint=str(progress / "checkpoint.pt"),
            dynamic_ranges=options.activation_ranges == DYNAMIC,
            shared=bound.part(_problem_key(options)),
        )
        held_out = bound.once("validation", lambda: TrainingData(validation_set, trained, device))
        bench = WidthBench(scaled, problem, options, held_out)
        finished = bench.run()
        measured = tuple(each.result for each in finished)
        uniform = measured[0]
        whole = next((each for each in measured if each.name == WHOLE_UNIFORM), None)
        kept = best_of(
            uniform, [each for each in measured if is_storable(each.allocation, options)] or measured
        )
        best = next(each for each in finished if each.result is kept)
        others = [each.result.name for each in finished if each.network is not best.network]
        others = [name for name in others if name not in UNIFORMS]
        graph = bench.graph(best)
        check = check_against_mirror(graph, mirror, best.network, validation_set, options.device)
        few = validation_set.first(COMPARED_EXAMPLES)
        nodes = compare_tensors(scaled, graph, few, options.device)
        results = progress / "results"
        provenance = Provenance(
            training=DataFacts(data, len(problem.data), problem.data.sha256),
            validation=DataFacts(validation or data, len(held_out), held_out.sha256),
            accuracy=best.result.evaluation,
            uniform=uniform.evaluation,
            uniform_whole=whole.evaluation if whole is not None else None,
            scaled_tensors=calibrated.scaled_tensors,
        )
        embed_provenance(graph, provenance)
        size = save_model(graph, results / MODEL_FILE)
        card = make_card(graph, size)
        write_card(card, results)
        best.result.allocation.save(results / ALLOCATION_FILE)
        write_text(
            results / CONFIGURATION_FILE,
            configuration_text(
                {
                    "model": str(model),
                    "data": data,
                    "validation": validation,
                    "weight_bits": weight_bits,
                    "activation_bits": activation_bits,
                    **dataclasses.asdict(options),
                }
            ),
        )
        calibrated.save(results / CALIBRATION_FILE)
        for each in finished if keep_candidates else ():
            save_model(bench.graph(each), results / CANDIDATES_FOLDER / f"{each.result.name}.onnx")
        if (progress / LOG_FILE).is_file():
            (progress / LOG_FILE).replace(results / LOG_FILE)
        result = AllocateResult(
            folder=str(folder),
            model_path=str(folder / MODEL_FILE),
            bytes=size,
            storage=options.storage,
            chosen=best.result,
            uniform=uniform,
            uniform_whole=whole,
            candidates=measured,
            mirror_check=check,
            nodes=tuple(nodes),
            loses_to_uniform=kept.name in UNIFORMS and bool(others),
            notes=(
                *float_model.notes,
                *lacking,
                *_notes(weight_bits, activation_bits, options, uniform, kept, others),
                *unspent_notes(kept.allocation, weight_bits, activation_bits, options),
                *label_notes(validation_set, float_model.model),
                *(float_notes(scaled, sites) if weight_bits is not None else ()),
                *(() if options.bias == FLOAT_BIAS else bias_notes(card)),
                *check_notes(check),
                *output_notes(kept.evaluation),
            ),
        )
        write_text(results / RESULT_FILE, to_json(result) + "\n")
        publish(results, folder)
    return result


def _notes(
    weight_bits: float | None,
    activation_bits: float | None,
    options: AllocateOptions,
    uniform: CandidateResult,
    kept: CandidateResult,
    others: list[str],
) -> tuple[str, ...]:
    """What is not as it was asked for; `others` are the names of what was measured beside uniform."""
    notes = [*beyond_choices(weight_bits, activation_bits, options)]
    if not is_storable(uniform.allocation, options):
        notes.append(
            "uniform at this budget has levels that none of the choices stores: it is compared, not kept"
        )
    if kept.name not in UNIFORMS:
        return tuple(notes)
    if others:
        notes.append(f"{kept.name} is kept: {', '.join(others)} did no better on the validation data")
    elif options.method != UNIFORM and not leaves_no_choice(weight_bits, activation_bits, options):
        notes.append(f"{kept.name} is kept: {options.method} found the same widths")
    for name, widths, choices in chosen_widths(kept.allocation, options):
        found = {levels_of(width) for width in widths} - {levels_of(each) for each in choices}
        notes += [
            f"{levels} levels ({math.log2(levels):.3f} bits) are none of --{name}: they are uniform at this budget,"
            f" and take {stored_bits(levels)} bits where whole bits are stored"
            for levels in sorted(found)
        ]
    return tuple(notes)


def _calibration(
    float_model: FloatModel,
    dataset: Dataset,
    options: AllocateOptions,
    given: str | os.PathLike[str] | None,
    progress: Path,
) -> Calibration:
    """The given one, the interrupted run's, or a new one."""
    saved = progress / CALIBRATION_FILE
    if given is not None:
        found = read_calibration(given, float_model)
        for name, was, wanted in (
            ("activation-scheme", found.scheme, options.activation_scheme),
            ("equalization", found.equalization, options.equalization),
        ):
            if was != wanted:
                raise UsageError(
                    f"{given}: was measured with --{name} {was}, not {wanted}; calibrate with it"
                )
        return found
    if not saved.is_file():
        rules = CalibrationRules(
            options.observer, options.placement, options.activation_scheme, options.equalization
        )
        measure_calibration(float_model, dataset, rules, options.device).save(saved)
    return read_calibration(saved, float_model)


def _mirror(model: ir.Model, origin: FloatModel, device: torch.device) -> Mirror:
    """The frozen mirror of a model that was read from, or made of, `origin`."""
    mirror = build_mirror(model, origin.path)
    mirror.module.requires_grad_(False).to(device)
    return mirror


def _calibration_choices(options: AllocateOptions) -> tuple[object, ...]:
    """What a calibration depends on beside model and data."""
    return (
        options.observer, options.placement, options.activation_scheme, options.equalization, options.device,
        *_drawn(options),
    )  # fmt: skip


def _drawn(options: AllocateOptions) -> tuple[object, ...]:
    """What the examples to train on depend on."""
    return options.training_examples, options.seed


def _problem_key(options: AllocateOptions) -> tuple[object, ...]:
    """What grids and costs depend on, beside the calibration's own."""
    return (
        options.observer, options.activation_scheme, options.weight_observer, options.weight_scheme,
        options.weight_scales, options.placement, options.first_last, options.embedding_bits, options.granularity,
        tuple(options.bit_choices), tuple(options.activation_choices), options.seed,
    )  # fmt: skip


def _budget(weight_bits: float | None, activation_bits: float | None, options: AllocateOptions) -> Budget:
    return Budget(
        weight_bits,
        activation_bits,
        tuple(options.bit_choices),
        tuple(options.activation_choices),
        options.granularity,
        options.activation_budget,
    )
