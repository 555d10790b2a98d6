"""allocate: find the widths that a budget is best spent on, and write the quantized file."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from mpq_onnx.arithmetic.weights import WeightRules
from mpq_onnx.datasets import Dataset, DataSource, InMemory, data_source, optional_source
from mpq_onnx.datasets.class_names import label_notes
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.graph.batch_memory import give_back_memory
from mpq_onnx.graph.differentiable_outputs import differentiable_outputs
from mpq_onnx.graph.given_model import GivenModel, ModelSource, model_source
from mpq_onnx.graph.model_file import save_model
from mpq_onnx.mirror import frozen_mirror
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import with_outputs
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.width_budgets import WidthBudgets
from mpq_onnx.precision.widths import WidthProblem
from mpq_onnx.progress import note
from mpq_onnx.ranks import ALONE, Ranks
from mpq_onnx.registries import DYNAMIC, FLOAT_BIAS
from mpq_onnx.report.card import bias_notes
from mpq_onnx.report.tables import bits_text
from mpq_onnx.runs.allocation_notes import allocation_notes, target_faults
from mpq_onnx.runs.alone import alone_in_output
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.bench import CandidateResult, Choice, choose
from mpq_onnx.runs.chance_notes import chance_notes
from mpq_onnx.runs.equalizing import equalized
from mpq_onnx.runs.float_notes import check_quantizable, float_notes
from mpq_onnx.runs.input_notes import input_notes
from mpq_onnx.runs.keeping import is_storable
from mpq_onnx.runs.mirror_check import MirrorCheck, check_against_mirror, check_notes
from mpq_onnx.runs.node_rows import width_rows
from mpq_onnx.runs.options import (
    AllocateOptions,
    as_float,
    asked_budgets,
    beyond_choices,
    check_budgets,
)
from mpq_onnx.runs.output_notes import output_notes
from mpq_onnx.runs.preparation import (
    CalibrationRules,
    FloatModel,
    calibration_for,
    check_covers,
    load_float_model,
)
from mpq_onnx.runs.quantizing import torch_device
from mpq_onnx.runs.requests import check_same_request, contents_of, file_state, request_text
from mpq_onnx.runs.resource_limits import width_budgets
from mpq_onnx.runs.results import (
    ALLOCATION_FILE,
    CANDIDATES_FOLDER,
    AllocationResult,
    ResultFolder,
    Sources,
    check_folder,
    folder_configuration,
)
from mpq_onnx.runs.run_folder import (
    CALIBRATION_FILE,
    LOG_FILE,
    progress_folder,
    split_validation,
    training_log,
)
from mpq_onnx.runs.shared_keys import calibration_choices, drawn, problem_key
from mpq_onnx.runs.speed_note import speed_notes
from mpq_onnx.runs.target_notes import target_notes
from mpq_onnx.runs.target_rules import rules_for
from mpq_onnx.runs.time_notes import say_if_by_chance, say_what_is_to_come
from mpq_onnx.runs.unspent import unspent_notes
from mpq_onnx.runs.width_bench import WidthBench
from mpq_onnx.runtime.comparison import NodeNoise, compare_tensors
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import TensorFacts, tensor_facts

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

    DRAWN = "node", "weight_bits"

    @property
    def title(self) -> str:
        """What was kept, and its means."""
        allocation = self.chosen.allocation
        means = bits_text(allocation.mean_weight_bits), bits_text(allocation.mean_activation_bits)
        return f"{self.chosen.name}: mean weight bits {means[0]}, mean activation bits {means[1]}"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a node."""
        return width_rows(self.chosen.allocation, self.nodes)


@checked_arguments
@alone_in_output
@torch.enable_grad()
def allocate(
    model: ModelSource,
    data: DataSource,
    output: str | os.PathLike[str],
    *,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    calibration: str | os.PathLike[str] | None = None,
    validation: DataSource | None = None,
    keep_candidates: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    options: AllocateOptions | None = None,
    shared: SharedWork | None = None,
    ranks: Ranks = ALONE,
) -> AllocateResult:
    """Allocate bit widths under budgets; write allocation.json, model.onnx, its card and what was measured.

    Args:
        model: the float ONNX file, or a model in memory.
        data: data spec, or arrays or a DataLoader (see datasets.in_memory), for calibration and training.
        output: the folder to write into; made when missing.
        weight_bits: budget for the mean width of the weights; None leaves them float.
        activation_bits: the same for the activations.
        calibration: a calibration.json of this model to reuse.
        validation: data spec for choosing between candidates; a quarter of `data`, drawn by the seed, when omitted.
        keep_candidates: write every measured candidate, uniform included, as candidates/NAME.onnx too.
        resume: go on with an interrupted run of the same request in the same folder.
        overwrite: replace what another request has left in the folder; refused otherwise.
        shared: what earlier allocations of the same model have made already, in this process.
        ranks: processes that all call this alike (see runs.joining.joined_ranks); the first writes, all get the result.

    Raises:
        UsageError: an option that is none, or a budget out of reach (found before any work starts).
        MpqOnnxError: see its other subclasses.
    """
    options = options or AllocateOptions()
    weight_bits, activation_bits = asked_budgets(weight_bits, activation_bits, options)
    check_budgets(weight_bits, activation_bits, options)
    asked = _Asked(
        model_source(model), data_source(data), optional_source(validation),
        None if calibration is None else str(calibration), as_float(weight_bits), as_float(activation_bits), options,
    )  # fmt: skip
    folder = Path(output)
    configuration = folder_configuration(asked.configuration(), folder)
    ranks.first(lambda: check_folder(folder, configuration, overwrite, resume))
    for line in beyond_choices(weight_bits, activation_bits, options):
        note(line)
    opened = _open(asked, shared or SharedWork(), ranks)
    request = asked.request(opened.contents)
    check_same_request(ranks, request)
    with progress_folder(folder, request, resume, ranks) as progress:
        if (
            options.override or options.max or options.target
        ):  # what cannot be reached is refused before any work
            _budgets(asked, opened.model.model, opened.facts).check()
        ground = _ground(asked, opened, progress)
        problem = _problem(asked, opened, ground, progress)
        held_out = ground.shared.once(
            "validation", lambda: TrainingData(opened.validation, problem.mirror, opened.device)
        )
        ground.shared.once("chance", lambda: say_if_by_chance(held_out))
        say_what_is_to_come(options.chosen_method, problem.data, problem.cost_examples, problem.training)
        bench = WidthBench(ground.model, problem, options, held_out)
        rules = rules_for(ground.model, asked.options)
        choice = choose(
            bench.measure_all(bench.propose(options.chosen_method)),
            lambda each: is_storable(each, options) and not rules.faults(problem.sites, each),
        )
        rules.check(problem.sites, choice.kept.result.allocation, str(asked.model))
        few = opened.validation.first(COMPARED_EXAMPLES)
        nodes = compare_tensors(ground.model, bench.graph(choice.kept), few, options.device).noises

        def write() -> AllocateResult:
            written = ResultFolder(progress, folder)
            for each in choice.measured if keep_candidates else ():
                path = written.results / CANDIDATES_FOLDER / f"{each.result.name}.onnx"
                save_model(bench.graph(each), path)
            written.write_configuration(configuration)
            return _write(asked, opened, ground, bench, choice, nodes, written)

        return ranks.first(write)


@dataclass(frozen=True)
class _Asked:
    """The request."""

    model: str | GivenModel
    data: str | InMemory
    validation: str | InMemory | None
    calibration: str | None
    weight_bits: float | None
    activation_bits: float | None
    options: AllocateOptions

    def request(self, contents: Mapping[str, str | None]) -> str:
        """Everything that the result depends on."""
        own = {name: getattr(self, name) for name in ("data", "validation", "weight_bits", "activation_bits")}
        return request_text(contents, self.options, **own)

    def configuration(self) -> dict[str, Any]:
        """What --config of another run takes."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del named["options"]
        return {**named, **dataclasses.asdict(self.options)}


@dataclass(frozen=True)
class _Opened:
    """The float model and its data."""

    model: FloatModel
    mirror: Mirror
    device: torch.device
    """Of torch; that of onnxruntime may be another."""
    runtime_device: str
    """auto, cpu or cuda."""
    training: Dataset
    validation: Dataset
    measured: Dataset
    """What ranges are calibrated on."""
    contents: Mapping[str, str | None]
    shared: SharedWork
    """What allocations of the same contents have in common."""

    @property
    def facts(self) -> TensorFacts:
        """Of the model's tensors."""
        device = self.runtime_device
        return self.shared.once(
            ("facts", device), lambda: tensor_facts(self.model.model, self.training, device)
        )


def _open(asked: _Asked, shared: SharedWork, ranks: Ranks) -> _Opened:
    """Read the model, refuse what has no mirror before any work starts, and split the data."""
    options, source = asked.options, file_state(asked.model)
    model = shared.once(("model", source), lambda: load_float_model(asked.model))
    device = torch_device(options.device)
    mirror = shared.once(("mirror", source, device), lambda: frozen_mirror(model.model, model.path, device))
    # Opened for every allocation, though their examples are shared: a file may have changed since.
    dataset = model.open_data(asked.data).among(ranks)
    held_out = model.open_data(asked.validation).among(ranks) if asked.validation is not None else None
    contents = contents_of(
        model, {"calibration": asked.calibration, "costs": options.costs}, data=dataset, validation=held_out
    )
    part = shared.part((*contents.items(), asked.data, asked.validation))
    sets = part.once(("sets", options.seed), lambda: split_validation(dataset, held_out, options.seed))
    training, measured = (
        each.first(options.chosen_training_examples) for each in (sets.training, sets.measured)
    )
    return _Opened(model, mirror, device, options.device, training, sets.validation, measured, contents, part)


@dataclass(frozen=True)
class _Ground:
    """The network that gets widths: calibrated, and equalized by it."""

    calibration: Calibration
    model: ir.Model
    mirror: Mirror
    facts: TensorFacts
    """Of the network's tensors."""
    shared: SharedWork
    """What allocations of the same calibration have in common."""


def _ground(asked: _Asked, opened: _Opened, progress: Path) -> _Ground:
    options, float_model = asked.options, opened.model
    rules = CalibrationRules(
        options.observer, options.placement, options.activation_scheme, options.equalization
    )
    given, saved = asked.calibration, progress / CALIBRATION_FILE
    calibrated = opened.shared.once_anywhere(
        ("calibration", *calibration_choices(options)),
        lambda: calibration_for(float_model, opened.measured, rules, options.device, given, saved),
    )
    give_back_memory()
    # Everything that the calibration, and with it the equalized network, depends on.
    factors = tuple(calibrated.channel_factors.items())
    shared = opened.shared.part((opened.device, factors, *drawn(options)))
    scaled = shared.once(
        "model", lambda: equalized(float_model.model, calibrated.channel_factors, calibrated.shapes)
    )
    mirror, facts = opened.mirror, opened.facts
    if scaled is not float_model.model:
        mirror = shared.once("mirror", lambda: frozen_mirror(scaled, float_model.path, opened.device))
        facts = shared.once("facts", lambda: tensor_facts(scaled, opened.training, options.device))
    return _Ground(calibrated, scaled, mirror, facts, shared)


def _budgets(asked: _Asked, model: ir.Model, facts: TensorFacts) -> WidthBudgets:
    return width_budgets(
        model, facts, (asked.weight_bits, asked.activation_bits), asked.options, str(asked.model)
    )


def _problem(asked: _Asked, opened: _Opened, ground: _Ground, progress: Path) -> WidthProblem:
    """What the methods get.

    Raises:
        ModelError: nothing that was asked for can be quantized.
    """
    options, calibrated = asked.options, ground.calibration
    trained = with_outputs(ground.mirror, differentiable_outputs(ground.model))
    budgets = _budgets(asked, ground.model, ground.facts)
    check_covers(calibrated, budgets.sites, str(asked.calibration or asked.data))
    return WidthProblem(
        mirror=trained,
        budgets=budgets,
        calibration=calibrated,
        weight_rules=WeightRules(options.weight_observer, options.weight_scheme, options.weight_scales),
        training=options.training_settings(budgets.sites.macs),
        data=ground.shared.once("training", lambda: TrainingData(opened.training, trained, opened.device)),
        log=training_log(progress / LOG_FILE, opened.training.ranks),
        checkpoint=str(progress / "checkpoint.pt"),
        dynamic_ranges=options.activation_ranges == DYNAMIC,
        cost_examples=options.cost_examples(budgets.sites.macs),
        shared=ground.shared.part(problem_key(options)),
    )


def _write(
    asked: _Asked,
    opened: _Opened,
    ground: _Ground,
    bench: WidthBench,
    choice: Choice[Allocation],
    nodes: Sequence[NodeNoise],
    written: ResultFolder,
) -> AllocateResult:
    """Check what is kept against the mirror, and write everything."""
    options, kept, problem = asked.options, choice.kept.result, bench.problem
    graph = bench.graph(choice.kept)
    assert choice.kept.network is not None
    check = check_against_mirror(graph, ground.mirror, choice.kept.network, opened.validation, options.device)
    sources = Sources(asked.data, problem.data, asked.validation, bench.validation)
    card = written.write_model(graph, choice, sources, ground.calibration.scaled_tensors)
    kept.allocation.save(written.results / ALLOCATION_FILE)
    ground.calibration.save(written.results / CALIBRATION_FILE)
    budgets = asked.weight_bits, asked.activation_bits
    result = AllocateResult(
        **written.found(choice),
        storage=options.storage,
        uniform_whole=choice.uniform_whole,
        mirror_check=check,
        nodes=tuple(nodes),
        notes=(
            *opened.model.notes,
            *target_notes(options.device_target),
            *check_quantizable(
                problem.sites,
                problem.budget.weight_bits if asked.weight_bits is None else asked.weight_bits,
                problem.budget.activation_bits,
                str(asked.model),
            ),
            *allocation_notes(
                *budgets,
                options,
                choice,
                target_faults(choice, problem.sites, rules_for(ground.model, options)),
                problem.budgets.joint is None or problem.budgets.joint.has_equal_widths,
            ),
            *unspent_notes(kept.allocation, *budgets, options, problem.budgets, choice.kept.candidate.levels),
            *label_notes(opened.validation, opened.model.model),
            *(float_notes(ground.model, problem.sites) if problem.budget.weight_bits is not None else ()),
            *(() if options.bias == FLOAT_BIAS else bias_notes(card)),
            *check_notes(check),
            *input_notes(graph, opened.validation),
            *chance_notes(kept.evaluation),
            *output_notes(kept.evaluation),
            *speed_notes(bench.float_runner, Runner(graph, options.device), opened.validation),
        ),
    )
    written.finish(result)
    return result
