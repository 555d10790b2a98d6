"""evaluate: metrics of any of these files on data, in onnxruntime. No torch here."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from mpq_onnx.datasets import Dataset, DataSource, data_source, open_dataset
from mpq_onnx.datasets.class_names import label_notes
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import UsageError, check_choice
from mpq_onnx.graph.given_model import GivenModel, ModelSource, model_source
from mpq_onnx.graph.metadata import METADATA_TASK
from mpq_onnx.graph.model_file import file_bytes, load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.passes.redraw_noise import RedrawNoisePass
from mpq_onnx.passes.remove_noise import without_noise
from mpq_onnx.passes.reseed_noise import ReseedNoisePass, noisy_nodes
from mpq_onnx.registries import NOISE_DRAWS
from mpq_onnx.report.file_format import MeanBits, format_text, shown_bits_of, stored_bits_of
from mpq_onnx.report.graph_facts import graph_facts
from mpq_onnx.report.left_out import noise_free_notes
from mpq_onnx.report.tables import bits_text
from mpq_onnx.runs.arguments import check_seed, checked_arguments
from mpq_onnx.runs.batch_notes import batch_notes
from mpq_onnx.runs.chance_notes import chance_notes
from mpq_onnx.runs.file_resources import file_resources
from mpq_onnx.runs.gates import reached
from mpq_onnx.runs.one_sided_notes import one_sided_notes
from mpq_onnx.runs.output_notes import output_notes
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.source_notes import zip_map_notes
from mpq_onnx.runs.speed_note import speed_notes
from mpq_onnx.runtime.evaluation import BATCH_SIZE, Evaluation, evaluate_runner
from mpq_onnx.runtime.network_outputs import with_network_outputs
from mpq_onnx.runtime.noise_ratios import Ratios, measure_ratios
from mpq_onnx.runtime.noisy_evaluation import evaluate_noisy
from mpq_onnx.runtime.session import Runner
from mpq_onnx.targets.cost_table import load_cost_table
from mpq_onnx.tasks import TASKS

DEFAULT_REPEATS = 5


@dataclass(frozen=True)
class EvaluateResult(Result):
    """An evaluation with what is known of the file."""

    path: str
    bytes: int
    allocation: Allocation | None
    """From the file's metadata; None for a float file or another tool's."""
    evaluation: Evaluation
    format: str
    """float, or in which form the graph is quantized and in types of how many bits, whoever made it."""
    widths: MeanBits
    """The allocation's, or, where there is none, those of the types in the graph."""
    stored: MeanBits
    """Of the types in the graph, which hold the widths."""
    energy: EnergyAllocation | None = None
    """From the metadata of a noisy file."""
    ratios: Ratios | None = None
    """Signal to noise of every noisy node, where asked for."""
    baseline: tuple[str, str, str] | None = None
    """Name, weight and activation bits of the file that was compared with; None without one, or where it is float."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """What a device counts of the file's widths, or energies (see file_resources)."""
    notes: tuple[str, ...] = ()
    """What a reader of the figures should know."""

    DRAWN = "metric", "value"

    @property
    def title(self) -> str:
        """The file, its form and how many examples it was measured on."""
        return f"{Path(self.path).name}: {self.format}, {self.bytes:,} bytes, {self.evaluation.examples} examples"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a metric, with its interval, the baseline's beside it."""
        comparison = self.evaluation.comparison
        theirs = {} if comparison is None else comparison.metrics
        found = [
            {
                "metric": name,
                **dataclasses.asdict(each),
                **({"baseline": theirs[name].value} if name in theirs else {}),
            }
            for name, each in self.evaluation.metrics.items()
        ]
        figures = reached(self.evaluation).items()
        return found + [
            {"metric": name, "value": each.value}
            for name, each in figures
            if name not in self.evaluation.metrics
        ]


def _measured(loaded: ir.Model, compared: ir.Model | None) -> tuple[ir.Model, ir.Model | None]:
    """Both models with what their post-processing is made from among the outputs, where both have that."""
    if compared is None or not _is_float(compared):
        return loaded, compared
    ours, theirs = with_network_outputs(loaded, compared), with_network_outputs(compared, compared)
    return (loaded, compared) if loaded is ours or compared is theirs else (ours, theirs)


def _runner(
    source: str | GivenModel, loaded: ir.Model | None, measured: ir.Model | None, device: str
) -> Runner:
    """Of the file as it lies, if it is measured as it was loaded."""
    return Runner(source if measured is loaded or measured is None else measured, device, where=str(source))


@checked_arguments
def evaluate(
    model: ModelSource,
    data: DataSource,
    *,
    baseline: ModelSource | None = None,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    repeats: int | None = None,
    seed: int = 0,
    signal_to_noise: bool = False,
    task: str | None = None,
    costs: str | os.PathLike[str] | None = None,
    noise_draws: str | None = None,
) -> EvaluateResult:
    """Run `data` through `model`, and through `baseline` beside it.

    Args:
        model: an ONNX file, float or quantized, or a model in memory.
        data: data spec, or arrays or a DataLoader (see datasets.in_memory).
        baseline: a file to compare with, usually the float model; the target where the data has no labels.
        repeats: passes over the data with independent noise, for noisy files; 5 when omitted.
        seed: of the noise; the same seed gives the same figures.
        signal_to_noise: measure every noisy node too.
        task: a name in tasks.TASKS, which decides the metrics; None takes the file's own.
        costs: a cost table; what the file's widths or energies take by it is among the result's resources.
        noise_draws: a name in NOISE_DRAWS, for noisy files; as the file draws when omitted.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    check_seed(seed)
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    model, data = model_source(model), data_source(data)
    baseline = None if baseline is None else model_source(baseline)
    loaded = load_model(model)
    facts = dict(loaded.metadata_props)
    if task is not None:
        check_choice("task", task, TASKS)
        facts[METADATA_TASK] = task
    dataset = open_dataset(data, model_inputs(loaded), facts)
    allocation = Allocation.embedded(loaded.metadata_props, str(model))
    energy = EnergyAllocation.embedded(loaded.metadata_props, str(model))
    resources = file_resources(allocation, energy, None if costs is None else load_cost_table(costs))
    compared = load_model(baseline) if baseline is not None else None
    measured, theirs = _measured(loaded, compared)
    other = None if baseline is None else _runner(baseline, compared, theirs, device)
    noisy = bool(noisy_nodes(loaded))
    judged = without_noise(loaded) if compared is None else compared
    no_length = post_processing(judged).outputs_of_no_length
    if not noisy and (repeats is not None or signal_to_noise or noise_draws is not None):
        raise UsageError(f"{model}: has no noise; --repeats, --snr and --noise-draws are for noisy files")
    if repeats is not None and repeats < 1:
        raise UsageError(f"--repeats {repeats}: must be at least 1")
    if noise_draws is not None:
        check_choice("noise draws", noise_draws, NOISE_DRAWS)
        if RedrawNoisePass(noise_draws)(loaded).modified:
            ReseedNoisePass(seed)(loaded)
    if noisy:
        found = evaluate_noisy(
            measured,
            dataset,
            other,
            repeats=repeats or DEFAULT_REPEATS,
            seed=seed,
            device=device,
            batch_size=batch_size,
            where=str(model),
            no_length=no_length,
        )
    else:
        found = evaluate_runner(
            _runner(model, loaded, measured, device), dataset, other, batch_size, no_length=no_length
        )
    graph = graph_facts(without_noise(loaded))
    stored = stored_bits_of(graph)
    return EvaluateResult(
        path=str(model),
        bytes=file_bytes(model),
        allocation=allocation,
        evaluation=found,
        format=format_text(graph),
        widths=shown_bits_of(graph)
        if allocation is None
        else MeanBits(allocation.mean_weight_bits, allocation.mean_activation_bits),
        stored=stored,
        energy=energy,
        ratios=measure_ratios(loaded, dataset, device) if signal_to_noise else None,
        baseline=None if compared is None else _described(str(baseline), compared),
        resources=resources,
        notes=(
            *chance_notes(found),
            *label_notes(dataset, loaded),
            *output_notes(found),
            *batch_notes(loaded),
            *zip_map_notes(loaded),
            *one_sided_notes(graph),
            *(noise_free_notes(loaded) if noisy else ()),
            *_unmeasured(found, dataset),
            *(
                speed_notes(other, Runner(model, device), dataset)
                if other is not None and not noisy and _is_float(compared) and not _is_float(loaded)
                else ()
            ),
        ),
    )


def _is_float(model: ir.Model | None) -> bool:
    """Nothing of it is quantized."""
    return model is not None and _described("", model) is None


def _described(path: str, model: ir.Model) -> tuple[str, str, str] | None:
    """Of a quantized file: its name and mean widths as its allocation or its types have them."""
    allocation = Allocation.embedded(model.metadata_props, path)
    widths = allocation or shown_bits_of(graph_facts(without_noise(model)))
    if widths.mean_weight_bits is None and widths.mean_activation_bits is None:
        return None
    return Path(path).name, bits_text(widths.mean_weight_bits), bits_text(widths.mean_activation_bits)


def _unmeasured(found: Evaluation, dataset: Dataset) -> tuple[str, ...]:
    """A line where there are labels, and nothing could be measured by them."""
    if found.metrics or not dataset.has_labels:
        return ()
    task = f" of task {dataset.task}" if dataset.task else ""
    return (
        f"nothing is measured by the labels: the outputs are no answers{task}; see --task and docs/models.md",
    )
