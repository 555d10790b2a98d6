"""Candidates of a width allocation: rounded, written as QDQ files, measured in onnxruntime and in the mirror."""

import onnx_ir as ir

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.documents.allocation import Allocation, Settings, make_allocation
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.mirror.quantized import quantized_mirror
from mpq_onnx.precision.methods import refined
from mpq_onnx.precision.problem import Candidate
from mpq_onnx.precision.task_loss import Distances, mean_distance
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.weight_costs import NAME as SENSITIVITY
from mpq_onnx.precision.widths import WidthProblem
from mpq_onnx.progress import begin
from mpq_onnx.runs.bench import Bench, CandidateResult, Finished
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runs.quantized_graph import write_graph
from mpq_onnx.runs.quantizing import round_network
from mpq_onnx.runtime.evaluation import evaluate_runner
from mpq_onnx.runtime.network_outputs import with_network_outputs
from mpq_onnx.runtime.remembering_runner import RememberingRunner
from mpq_onnx.runtime.session import Runner

RECORDED_OPTIONS = (
    "weight_scheme", "weight_scales", "activation_scheme", "activation_ranges", "first_last", "embedding_bits", "bias",
    "variance_correction", "equalization", "activation_budget", "labels", "width_choice", "learned_ranges",
    "granularity", "placement", "weight_observer", "bias_correction", "seed", "override", "exclude",
)  # fmt: skip
"""Options of AllocateOptions that an allocation's settings repeat under the same name."""


class WidthBench(Bench[Allocation]):
    """Measures the candidates of one problem."""

    problem: WidthProblem

    def __init__(
        self, model: ir.Model, problem: WidthProblem, options: AllocateOptions, validation: TrainingData
    ) -> None:
        self.model, self.problem, self.options, self.validation = model, problem, options, validation
        self.float_runner = Runner(model, options.device)
        self.no_length = post_processing(model).outputs_of_no_length
        measured = with_network_outputs(model, model)
        self.baseline = RememberingRunner(
            self.float_runner if measured is model else Runner(measured, options.device)
        )

    def measure(self, candidate: Candidate) -> Finished[Allocation]:
        """Round, write and evaluate it."""
        begin(f"candidate {candidate.name}")
        problem, options = self.problem, self.options
        allocation = self.allocation(candidate)
        network = round_network(
            self.model,
            problem.mirror,
            problem.sites,
            allocation,
            problem.calibration,
            problem.data,
            options.chosen_rounding_examples(problem.sites.macs),
        )
        graph = write_graph(self.model, allocation, network, options.storage)
        runner = Runner(with_network_outputs(graph, self.model), options.device)
        validation = self.validation
        distances = Distances(validation)
        trained_outputs = runner.outputs == problem.mirror.outputs
        evaluation = evaluate_runner(
            runner,
            validation.dataset,
            self.baseline,
            validation.forward_batch,
            distances.update if trained_outputs else None,
            self.no_length,
        )
        distance = distances.mean if trained_outputs else self._mirrored_distance(network)
        spent = problem.budgets.spent(allocation.widths())
        result = CandidateResult(candidate.name, allocation, distance, evaluation, spent)
        return Finished(candidate, result, network)

    def _mirrored_distance(self, network: QuantizedNetwork) -> float:
        """Where the file's outputs are none that gradients reach (labels, say): of the trained outputs."""
        simulated = quantized_mirror(self.problem.mirror, network)
        return mean_distance(simulated.module.forward, self.validation)

    def graph(self, finished: Finished[Allocation]) -> ir.Model:
        """The QDQ graph of a finished candidate."""
        assert finished.network is not None
        return write_graph(self.model, finished.result.allocation, finished.network, self.options.storage)

    def allocation(self, candidate: Candidate) -> Allocation:
        """The widths, with every choice that the file depends on."""
        options, problem = self.options, self.problem
        return make_allocation(
            problem.calibration.model,
            Settings(
                method=candidate.name,
                activation_observer=problem.calibration.observer,
                target=options.target_record,
                integer_kernels=True,
                sensitivity=SENSITIVITY if candidate.name in (problem.closed_form, refined.NAME) else None,
                rounding=options.chosen_rounding,
                rounding_examples=options.chosen_rounding_examples(problem.sites.macs),
                training_examples=options.chosen_training_examples,
                **{name: getattr(options, name) for name in RECORDED_OPTIONS},
            ),
            problem.sites,
            candidate.weights,
            {tensor: float(width) for tensor, width in candidate.activations.items()},  # type: ignore[arg-type]
            problem.budgets.asked,
            candidate.range_factors,
            problem.budgets.most,
            problem.budgets.quantizes,
        )
