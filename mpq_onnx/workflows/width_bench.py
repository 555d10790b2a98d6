"""Candidates of a width allocation proposed, rounded, written and measured, all in the same way."""

import dataclasses
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.allocation import Allocation, Settings, make_allocation
from mpq_onnx.allocators import ALLOCATORS, Candidate, Problem, TrainingData
from mpq_onnx.allocators.sensitivity import NAME as SENSITIVITY
from mpq_onnx.allocators.task_loss import mean_distance
from mpq_onnx.allocators.uniform import NAME as UNIFORM
from mpq_onnx.mirror.quantized import quantized_mirror
from mpq_onnx.progress import begin
from mpq_onnx.quantized_network import QuantizedNetwork
from mpq_onnx.runtime.evaluation import Evaluation, evaluate_runner
from mpq_onnx.runtime.session import Runner
from mpq_onnx.workflows.options import AllocateOptions
from mpq_onnx.workflows.quantizing import round_network, write_graph

SCORE_BATCH = 64
RECORDED_OPTIONS = (
    "weight_scheme", "weight_scales", "activation_scheme", "activation_ranges", "first_last", "embedding_bits", "bias",
    "variance_correction", "equalization", "activation_budget", "labels", "width_choice", "learned_ranges",
    "training_examples",
)  # fmt: skip
"""Options of AllocateOptions that an allocation's settings repeat under the same name."""


@dataclass(frozen=True)
class CandidateResult:
    """One set of widths, rounded, written and measured."""

    name: str
    """Of the method that found the widths."""
    allocation: Allocation
    distance: float
    """Mean distance of the outputs from the float model's on validation data (see task_loss.distance_from_float)."""
    evaluation: Evaluation
    """By onnxruntime, on validation data, against the float model."""


@dataclass(frozen=True)
class Finished:
    """A measured candidate, and the network that was written."""

    result: CandidateResult
    network: QuantizedNetwork


class WidthBench:
    """Measures the candidates of one problem."""

    def __init__(
        self, model: ir.Model, problem: Problem, options: AllocateOptions, validation: TrainingData
    ) -> None:
        self.model = model
        self.problem = problem
        self.options = options
        self.validation = validation
        self.baseline = Runner(model, options.device)

    def run(self) -> list[Finished]:
        """Uniform first, then what the method proposes; equal widths are measured once, and share their network."""
        measured: list[tuple[Candidate, Finished]] = []
        for method in dict.fromkeys((UNIFORM, self.options.method)):
            for candidate in ALLOCATORS[method](self.problem):
                same = [done for known, done in measured if _choices_of(known) == _choices_of(candidate)]
                if all(done.result.name != candidate.name for done in same):
                    done = self._renamed(same[0], candidate) if same else self.finish(candidate)
                    measured.append((candidate, done))
        return [done for _, done in measured]

    def finish(self, candidate: Candidate) -> Finished:
        begin(f"candidate {candidate.name}")
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
        return Finished(
            CandidateResult(candidate.name, allocation, self._distance(network), evaluation), network
        )

    def _renamed(self, finished: Finished, candidate: Candidate) -> Finished:
        """What was measured at the candidate's widths, under the candidate's name."""
        allocation = self._allocation(candidate)
        result = dataclasses.replace(finished.result, name=candidate.name, allocation=allocation)
        return Finished(result, finished.network)

    def graph(self, finished: Finished) -> ir.Model:
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
    """All that a candidate chooses; a channel's widths that are all equal are one for the tensor."""
    weights = {
        tensor: width[0] if isinstance(width, tuple) and len(set(width)) == 1 else width
        for tensor, width in candidate.weights.items()
    }
    return weights, candidate.activations, dict(candidate.range_factors)
