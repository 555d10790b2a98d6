"""allocate: find the widths that a budget is best spent on, and write the quantized file."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch

from mpq_onnx.allocation import Allocation, Settings, make_allocation
from mpq_onnx.allocators import ALLOCATORS, Budget, Candidate, Problem, TrainingData, TrainingSettings
from mpq_onnx.allocators.sensitivity import NAME as SENSITIVITY
from mpq_onnx.allocators.task_loss import mean_distance
from mpq_onnx.calibration import Calibration
from mpq_onnx.configuration import configuration_text
from mpq_onnx.datasets import Dataset
from mpq_onnx.datasets.class_names import label_notes
from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.files import write_text
from mpq_onnx.graph.differentiable_outputs import differentiable_outputs
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import with_outputs
from mpq_onnx.mirror.quantized import quantized_mirror
from mpq_onnx.model_file import save_model
from mpq_onnx.placement import find_sites
from mpq_onnx.quantized_network import DYNAMIC, QuantizedNetwork
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.card import bias_notes, make_card, write_card
from mpq_onnx.report.provenance import DataFacts, Provenance, embed_provenance
from mpq_onnx.rounding.network import FLOAT_BIAS
from mpq_onnx.runtime.comparison import NodeNoise, compare_tensors
from mpq_onnx.runtime.evaluation import Evaluation, evaluate_runner
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import tensor_facts
from mpq_onnx.shared_work import SharedWork
from mpq_onnx.weights import WeightRules
from mpq_onnx.workflows.applying import CALIBRATION_FILE
from mpq_onnx.workflows.float_notes import float_notes
from mpq_onnx.workflows.mirror_check import MirrorCheck, check_against_mirror
from mpq_onnx.workflows.options import AllocateOptions, check_budgets
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
    round_network,
    torch_device,
    write_graph,
)
from mpq_onnx.workflows.requests import contents_of, file_state, request_text
from mpq_onnx.workflows.run_folder import LOG_FILE, progress_folder, publish, split_validation, training_log

ALLOCATION_FILE = "allocation.json"
MODEL_FILE = "model.onnx"
RESULT_FILE = "result.json"
CONFIGURATION_FILE = "config.yaml"
CANDIDATES_FOLDER = "candidates"
COMPARED_EXAMPLES = 256
SCORE_BATCH = 64
RECORDED_OPTIONS = (
    "weight_scheme", "weight_scales", "activation_scheme", "activation_ranges", "first_last", "embedding_bits", "bias",
    "variance_correction", "equalization", "activation_budget", "labels", "width_choice", "learned_ranges",
    "training_examples",
)  # fmt: skip
"""Options of AllocateOptions that an allocation's settings repeat under the same name."""
FLOAT_NOISE = 1e-6
"""Distances below it say nothing: log-probabilities near 1 are rounded to 1e-7 in float32."""


@dataclass(frozen=True)
class CandidateResult:
    """One set of widths, rounded, written and measured."""

    name: str
    allocation: Allocation
    distance: float
    """Mean distance of the outputs from the float model's on validation data (see task_loss.distance_from_float)."""
    evaluation: Evaluation
    """By onnxruntime, on validation data, against the float model."""


@dataclass(frozen=True)
class AllocateResult:
    """What was found and written."""

    folder: str
    model_path: str
    bytes: int
    storage: str
    chosen: CandidateResult
    uniform: CandidateResult
    """The baseline at the same budget, with the same rounding."""
    candidates: tuple[CandidateResult, ...]
    """All that were measured."""
    mirror_check: MirrorCheck
    nodes: tuple[NodeNoise, ...]
    """SQNR of every node's output."""
    loses_to_uniform: bool
    """True when the asked-for method ended further from the float model than uniform."""
    notes: tuple[str, ...] = ()
    """What else a reader should know, a sentence each."""


@dataclass(frozen=True)
class _Finished:
    result: CandidateResult
    network: QuantizedNetwork


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
        problem = Problem(
            mirror=trained,
            sites=sites,
            calibration=calibrated,
            weight_rules=WeightRules(options.weight_observer, options.weight_scheme, options.weight_scales),
            budget=_budget(weight_bits, activation_bits, options),
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
        if not problem.sites.free_weights and weight_bits is not None:
            raise ModelError(f"{model}: no Conv, Gemm or MatMul with a constant weight to quantize")
        held_out = bound.once("validation", lambda: TrainingData(validation_set, trained, device))
        bench = _Bench(scaled, problem, options, held_out)
        uniform, finished = bench.run()
        best = min(finished, key=lambda each: _rank(each.result))
        graph = bench.graph(best)
        check = check_against_mirror(graph, mirror, best.network, validation_set, options.device)
        few = validation_set.first(COMPARED_EXAMPLES)
        nodes = compare_tensors(scaled, graph, few, options.device)
        results = progress / "results"
        provenance = Provenance(
            training=DataFacts(data, len(problem.data), problem.data.sha256),
            validation=DataFacts(validation or data, len(held_out), held_out.sha256),
            accuracy=best.result.evaluation,
            uniform=uniform.result.evaluation,
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
        for each in (uniform, *finished) if keep_candidates else ():
            save_model(bench.graph(each), results / CANDIDATES_FOLDER / f"{each.result.name}.onnx")
        if (progress / LOG_FILE).is_file():
            (progress / LOG_FILE).replace(results / LOG_FILE)
        result = AllocateResult(
            folder=str(folder),
            model_path=str(folder / MODEL_FILE),
            bytes=size,
            storage=options.storage,
            chosen=best.result,
            uniform=uniform.result,
            candidates=tuple(each.result for each in finished),
            mirror_check=check,
            nodes=tuple(nodes),
            loses_to_uniform=best.result.distance > uniform.result.distance,
            notes=(
                *label_notes(validation_set, float_model.model),
                *(float_notes(scaled, sites) if weight_bits is not None else ()),
                *(() if options.bias == FLOAT_BIAS else bias_notes(card)),
            ),
        )
        write_text(results / RESULT_FILE, to_json(result) + "\n")
        publish(results, folder)
    return result


class _Bench:
    """Rounds, writes and measures candidates, all in the same way."""

    def __init__(
        self, model: ir.Model, problem: Problem, options: AllocateOptions, validation: TrainingData
    ) -> None:
        self.model = model
        self.problem = problem
        self.options = options
        self.validation = validation
        self.baseline = Runner(model, options.device)

    def run(self) -> tuple[_Finished, list[_Finished]]:
        """(uniform, all candidates of the method); equal widths are measured once."""
        (baseline,) = ALLOCATORS["uniform"](self.problem)
        measured = [(baseline, self.finish(baseline))]
        finished: list[_Finished] = []
        for candidate in ALLOCATORS[self.options.method](self.problem):
            widths = _choices_of(candidate)
            same = [each for done, each in measured if _choices_of(done) == widths]
            finished.append(self._renamed(same[0], candidate) if same else self.finish(candidate))
            measured.append((candidate, finished[-1]))
        return measured[0][1], finished

    def finish(self, candidate: Candidate) -> _Finished:
        allocation = self._allocation(candidate)
        network = round_network(
            self.problem.mirror,
            self.problem.sites,
            allocation,
            self.problem.calibration,
            self.problem.data,
            self.options.rounding_examples,
        )
        graph = self._graph(allocation, network)
        evaluation = evaluate_runner(
            Runner(graph, self.options.device), self.validation.dataset, self.baseline
        )
        return _Finished(
            CandidateResult(candidate.name, allocation, self._distance(network), evaluation), network
        )

    def _renamed(self, finished: _Finished, candidate: Candidate) -> _Finished:
        """What was measured at the candidate's widths, under the candidate's name."""
        allocation = self._allocation(candidate)
        return dataclasses.replace(
            finished, result=dataclasses.replace(finished.result, name=candidate.name, allocation=allocation)
        )

    def graph(self, finished: _Finished) -> ir.Model:
        """The QDQ graph of a finished candidate."""
        return self._graph(finished.result.allocation, finished.network)

    def _graph(self, allocation: Allocation, network: QuantizedNetwork) -> ir.Model:
        return write_graph(self.model, allocation, network, self.options.storage)

    def _allocation(self, candidate: Candidate) -> Allocation:
        options, budget = self.options, self.problem.budget
        asked = {"weight_bits": budget.weight_bits, "activation_bits": budget.activation_bits}
        return make_allocation(
            self.problem.calibration.model,
            Settings(
                method=candidate.name,
                granularity=options.granularity,
                placement=options.placement,
                activation_observer=self.problem.calibration.observer,
                weight_observer=options.weight_observer,
                rounding=options.rounding,
                bias_correction=options.bias_correction,
                seed=options.seed,
                sensitivity=SENSITIVITY if candidate.name in ("water-filling", "refined") else None,
                **{name: getattr(options, name) for name in RECORDED_OPTIONS},
            ),
            self.problem.sites,
            candidate.weights,
            candidate.activations,
            {name: float(value) for name, value in asked.items() if value is not None},
            candidate.range_factors,
        )

    def _distance(self, network: QuantizedNetwork) -> float:
        """Mean distance from the float outputs over the validation data, in the mirror."""
        simulated = quantized_mirror(self.problem.mirror, network)
        return mean_distance(simulated.module.forward, self.validation.batches(SCORE_BATCH))


def _choices_of(candidate: Candidate) -> tuple[object, ...]:
    """All that a candidate chooses."""
    return candidate.weights, candidate.activations, candidate.range_factors


def _rank(result: CandidateResult) -> tuple[float, float]:
    """Least for the candidate to keep: the distance from the float model, then the SQNR where float noise is all there is."""
    comparison = result.evaluation.comparison
    sqnr = comparison.output_sqnr if comparison is not None else None
    return max(result.distance, FLOAT_NOISE), 0.0 if sqnr is None else -sqnr


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
