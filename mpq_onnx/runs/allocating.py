"""allocate: find the widths that a budget is best spent on, and write the quantized file."""

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch

from mpq_onnx.arithmetic.quantization import levels_of, stored_bits
from mpq_onnx.arithmetic.weights import WeightRules
from mpq_onnx.datasets import Dataset
from mpq_onnx.datasets.class_names import label_notes
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.graph.differentiable_outputs import differentiable_outputs
from mpq_onnx.graph.model_file import save_model
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import with_outputs
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.precision.widths import WidthBudget, WidthProblem
from mpq_onnx.registries import DYNAMIC, FLOAT_BIAS
from mpq_onnx.report.card import bias_notes
from mpq_onnx.runs.bench import CandidateResult, Choice, choose, kept_note
from mpq_onnx.runs.float_notes import check_quantizable, float_notes, has_weights
from mpq_onnx.runs.keeping import chosen_widths, is_storable
from mpq_onnx.runs.mirror_check import MirrorCheck, check_against_mirror, check_notes
from mpq_onnx.runs.options import AllocateOptions, as_float, beyond_choices, check_budgets, leaves_no_choice
from mpq_onnx.runs.output_notes import output_notes
from mpq_onnx.runs.preparation import (
    CalibrationRules,
    FloatModel,
    check_covers,
    check_measured_as,
    equalized,
    load_float_model,
    measure_calibration,
    read_calibration,
)
from mpq_onnx.runs.quantizing import (
    torch_device,
)
from mpq_onnx.runs.requests import contents_of, file_state, request_text
from mpq_onnx.runs.results import (
    ALLOCATION_FILE,
    CALIBRATION_FILE,
    CANDIDATES_FOLDER,
    AllocationResult,
    ResultFolder,
    Sources,
)
from mpq_onnx.runs.run_folder import LOG_FILE, progress_folder, split_validation, training_log
from mpq_onnx.runs.unspent import unspent_notes
from mpq_onnx.runs.width_bench import WidthBench
from mpq_onnx.runtime.comparison import NodeNoise, compare_tensors
from mpq_onnx.runtime.tensors import tensor_facts

COMPARED_EXAMPLES = 256


@dataclass(frozen=True, kw_only=True)
class AllocateResult(AllocationResult[Allocation]):
    """What was found and written."""

    storage: str
    uniform_whole: CandidateResult[Allocation] | None
    """The whole width below uniform's, where that is fractional."""
    mirror_check: MirrorCheck
    nodes: tuple[NodeNoise, ...]
    """SQNR of every node's output."""


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
    weight_bits, activation_bits = as_float(weight_bits), as_float(activation_bits)
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
            scaled,
            calibrated.shapes,
            options.placement,
            options.embedding_bits,
            options.first_last,
            layouts,
            options.overrides,
        )
        check_covers(calibrated, sites, str(calibration or data))
        lacking = check_quantizable(sites, weight_bits, activation_bits, str(model))
        problem = WidthProblem(
            mirror=trained,
            sites=sites,
            calibration=calibrated,
            weight_rules=WeightRules(options.weight_observer, options.weight_scheme, options.weight_scales),
            budget=_budget(weight_bits if has_weights(sites) else None, activation_bits, options),
            training=TrainingSettings(
                options.steps,
                options.batch_size,
                options.learning_rate,
                options.chosen_penalty,
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
        problem.check_budgets()
        held_out = bound.once("validation", lambda: TrainingData(validation_set, trained, device))
        bench = WidthBench(scaled, problem, options, held_out)
        choice = choose(
            bench.measure_all(bench.propose(options.method)), lambda each: is_storable(each, options)
        )
        graph = bench.graph(choice.kept)
        assert choice.kept.network is not None
        check = check_against_mirror(graph, mirror, choice.kept.network, validation_set, options.device)
        few = validation_set.first(COMPARED_EXAMPLES)
        nodes = compare_tensors(scaled, graph, few, options.device)
        written = ResultFolder(progress, folder)
        sources = Sources(data, problem.data, validation, held_out)
        card = written.write_model(graph, choice, sources, calibrated.scaled_tensors)
        kept = choice.kept.result
        kept.allocation.save(written.results / ALLOCATION_FILE)
        calibrated.save(written.results / CALIBRATION_FILE)
        asked = {
            "model": str(model), "data": data, "validation": validation, "weight_bits": weight_bits,
            "activation_bits": activation_bits, "calibration": None if calibration is None else str(calibration),
        }  # fmt: skip
        written.write_configuration({**asked, **dataclasses.asdict(options)})
        for each in choice.measured if keep_candidates else ():
            save_model(bench.graph(each), written.results / CANDIDATES_FOLDER / f"{each.result.name}.onnx")
        notes = (
            *float_model.notes,
            *lacking,
            *_notes(weight_bits, activation_bits, options, choice),
            *unspent_notes(kept.allocation, weight_bits, activation_bits, options),
            *label_notes(validation_set, float_model.model),
            *(float_notes(scaled, sites) if weight_bits is not None else ()),
            *(() if options.bias == FLOAT_BIAS else bias_notes(card)),
            *check_notes(check),
            *output_notes(kept.evaluation),
        )
        result = AllocateResult(
            **written.found(choice),
            storage=options.storage,
            uniform_whole=choice.uniform_whole,
            mirror_check=check,
            nodes=tuple(nodes),
            notes=notes,
        )
        written.finish(result)
    return result


def _notes(
    weight_bits: float | None,
    activation_bits: float | None,
    options: AllocateOptions,
    choice: Choice[Allocation],
) -> tuple[str, ...]:
    """What is not as it was asked for."""
    notes = [*beyond_choices(weight_bits, activation_bits, options)]
    if not is_storable(choice.uniform.allocation, options):
        notes.append(
            "uniform at this budget has levels that none of the choices stores: it is compared, not kept"
            f" (distance {choice.uniform.distance:.3g} from the float model's outputs; kept {choice.kept.result.distance:.3g})"
        )
    if not choice.keeps_uniform:
        return tuple(notes)
    why = kept_note(choice, options.method, "widths")
    if why is not None and (choice.others or not leaves_no_choice(weight_bits, activation_bits, options)):
        notes.append(why)
    for name, widths, choices in chosen_widths(choice.kept.result.allocation, options):
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
        check_measured_as(
            found, str(given), observer=options.observer, scheme=options.activation_scheme,
            equalization=options.equalization,
        )  # fmt: skip
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
        options.override, options.exclude,
        tuple(options.bit_choices), tuple(options.activation_choices), options.seed,
    )  # fmt: skip


def _budget(
    weight_bits: float | None, activation_bits: float | None, options: AllocateOptions
) -> WidthBudget:
    return WidthBudget(
        weight_bits,
        activation_bits,
        tuple(options.bit_choices),
        tuple(options.activation_choices),
        options.granularity,
        options.activation_budget,
    )
