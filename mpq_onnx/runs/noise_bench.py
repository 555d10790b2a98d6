"""Everything that a noise-free model needs to be made noisy: its mirror, sites and data; candidates written and measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from mpq_onnx.datasets import Dataset
from mpq_onnx.documents.energy_allocation import EnergyAllocation, EnergySettings, make_energy_allocation
from mpq_onnx.graph.differentiable_outputs import differentiable_outputs
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.mirror import frozen_mirror
from mpq_onnx.mirror.copying import with_outputs
from mpq_onnx.mirror.noisy_mac import NoisyMirror, with_noise
from mpq_onnx.mirror.straight_through import straight_through
from mpq_onnx.precision.energies import EnergyProblem
from mpq_onnx.precision.problem import Candidate
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.precision.task_loss import mean_distance
from mpq_onnx.precision.training import measuring_draws
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.progress import begin
from mpq_onnx.registries import ENERGY_LEVELS
from mpq_onnx.runs.bench import Bench, CandidateResult, Finished, choose
from mpq_onnx.runs.energy_limits import energy_prices
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.noise_check import OutputNoise
from mpq_onnx.runs.noisy_graph import find_mac_sites, write_noisy_graph
from mpq_onnx.runs.preparation import FloatModel
from mpq_onnx.runs.quantizing import torch_device
from mpq_onnx.runs.run_folder import LOG_FILE, split_validation, training_log
from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.network_outputs import with_network_outputs
from mpq_onnx.runtime.noise_ratios import BATCH_SIZE
from mpq_onnx.runtime.noisy_evaluation import evaluate_noisy
from mpq_onnx.runtime.remembering_runner import RememberingRunner
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.statistics import SignalToNoise

COMMON_OPTIONS = ("noise", "compat", "seed", "device")


class NoiseBench:
    """What all allocations of one model, data set and noise have in common: mirror, sites, data, costs."""

    def __init__(
        self,
        base: FloatModel,
        dataset: Dataset,
        validation: Dataset | None,
        options: EnergyOptions,
        shared: SharedWork | None = None,
    ) -> None:
        """Args:
        validation: see run_folder.split_validation.
        options: of which COMMON_OPTIONS are read.
        shared: what benches of the same contents have in common.
        """
        self.base, self.seed, self.device = base, options.seed, options.device
        sets = split_validation(dataset, validation, options.seed)
        self.validation_set = sets.validation
        self.sites = find_mac_sites(base, sets.training, options)
        device = torch_device(options.device)
        mirror = frozen_mirror(base.model, base.path, device)
        self.mirror = straight_through(with_outputs(mirror, differentiable_outputs(base.model)))
        self.training = TrainingData(sets.training, self.mirror, device)
        self.validation = TrainingData(self.validation_set, self.mirror, device)
        self.no_length = post_processing(base.model).outputs_of_no_length
        self.baseline = RememberingRunner(
            Runner(with_network_outputs(base.model, base.model), options.device)
        )
        self.shared = shared or SharedWork()

    def at(self, energy_per_mac: float | None, options: EnergyOptions, progress: Path) -> "EnergyBench":
        """The bench of one budget; `progress` is the folder for log and checkpoint.

        Raises:
            UsageError: a limit of `options` that no energies keep.
        """
        prices = energy_prices(self.base, self.sites, options)
        macs = sum(site.macs for site in self.sites)
        cost_examples = options.cost_examples(macs)
        problem = EnergyProblem(
            mirror=self.mirror,
            sites=self.sites,
            noises=options.noises,
            energy_per_mac=energy_per_mac,
            granularity=options.granularity,
            allowed=ENERGY_LEVELS[options.energy_levels],
            noise_draws=options.noise_draws,
            prices=prices,
            most=options.limits,
            training=options.training_settings(macs),
            data=self.training,
            log=training_log(progress / LOG_FILE, self.training.ranks),
            checkpoint=str(progress / "checkpoint.pt"),
            cost_examples=cost_examples,
            shared=self.shared.part((options.granularity, cost_examples)),
        )
        problem.check_limit()
        return EnergyBench(self, problem, options)

    def evaluate(self, allocation: EnergyAllocation, dataset: Dataset, repeats: int) -> Evaluation:
        """By onnxruntime, against the noise-free model."""
        return evaluate_noisy(
            with_network_outputs(self.graph(allocation), self.base.model),
            dataset,
            self.baseline,
            repeats=repeats,
            seed=self.seed,
            device=self.device,
            no_length=self.no_length,
        )

    def graph(self, allocation: EnergyAllocation) -> ir.Model:
        """The noisy graph."""
        return write_noisy_graph(self.base.model, self.sites, allocation)


class EnergyBench(Bench[EnergyAllocation]):
    """Measures the candidates of one budget."""

    problem: EnergyProblem

    def __init__(self, shared: NoiseBench, problem: EnergyProblem, options: EnergyOptions) -> None:
        self.shared, self.problem, self.options = shared, problem, options

    def best(self) -> Candidate:
        """The one to keep (see keeping); not measured where there is nothing to choose from."""
        candidates = self.propose(self.options.chosen_method)
        return candidates[0] if len(candidates) == 1 else choose(self.measure_all(candidates)).kept.candidate

    def measure(self, candidate: Candidate) -> Finished[EnergyAllocation]:
        """Write and evaluate it."""
        begin(f"candidate {candidate.name}")
        allocation = self.allocation(candidate)
        evaluation = self.shared.evaluate(allocation, self.shared.validation_set, self.options.repeats)
        noisy = self.noisy_mirror(candidate)
        draws = measuring_draws(noisy.generator)
        distance = mean_distance(noisy.mirror.module.forward, self.shared.validation, begin=draws)
        spent = self.problem.spent(candidate.energies)
        return Finished(candidate, CandidateResult(candidate.name, allocation, distance, evaluation, spent))

    def graph(self, finished: Finished[EnergyAllocation]) -> ir.Model:
        """The noisy graph of a finished candidate."""
        return self.shared.graph(finished.result.allocation)

    def noisy_mirror(self, candidate: Candidate) -> NoisyMirror:
        """The mirror with the candidate's energies."""
        energies = {
            node: np.atleast_1d(np.array(each, np.float64)) for node, each in candidate.energies.items()
        }
        problem = self.problem
        return with_noise(
            problem.mirror, problem.sites, problem.noises, energies, problem.allowed, problem.noise_draws
        )

    def allocation(self, candidate: Candidate) -> EnergyAllocation:
        """The energies, with every choice that the file depends on."""
        options, problem = self.options, self.problem
        settings = EnergySettings(
            noise=options.noises,
            method=candidate.name,
            granularity=options.granularity,
            energy_levels=options.energy_levels,
            compat=options.compat,
            seed=options.seed,
            target=options.target_record,
            noise_draws=options.noise_draws,
        )
        return make_energy_allocation(
            self.shared.base.fingerprint, settings, problem.sites, candidate.energies, problem.energy_per_mac,
            options.limits,
        )  # fmt: skip


@torch.no_grad()
def output_signal_to_noise(bench: EnergyBench, candidate: Candidate, positions: Sequence[int]) -> OutputNoise:
    """The mirror's noisy outputs against the noise-free ones, on validation examples.

    In the batches of runtime.noise_ratios: weight noise is drawn once a batch.
    """
    noisy = bench.noisy_mirror(candidate)
    noisy.generator.manual_seed(bench.problem.training.seed)
    ratio = SignalToNoise()
    powers: list[float] = []
    size = min(BATCH_SIZE, bench.shared.validation.most_at_once)
    parts = (positions[start : start + size] for start in range(0, len(positions), size))
    for batch in bench.shared.validation.stream(enumerate(parts)):
        found = batch.by_example(noisy.mirror.module.forward(*batch.inputs))
        for got, exact in zip(found, batch.float_outputs, strict=True):
            ratio.update(exact.cpu().numpy(), got.cpu().numpy())
        powers.append(ratio.noise - sum(powers))
    return OutputNoise(ratio.decibels, tuple(powers))
