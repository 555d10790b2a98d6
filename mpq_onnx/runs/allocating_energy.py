"""allocate with noise: find the energies per MAC that a budget is best spent on, and write the noisy file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mpq_onnx.datasets import DataSource, InMemory, data_source, optional_source
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.given_model import GivenModel, ModelSource, model_source
from mpq_onnx.graph.metadata import METADATA_ALLOCATION
from mpq_onnx.precision.problem import ENERGIES
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.ranks import ALONE, Ranks
from mpq_onnx.registries import STATIC
from mpq_onnx.report.left_out import noise_free_notes
from mpq_onnx.report.provenance import read_provenance
from mpq_onnx.report.tables import energy_text
from mpq_onnx.runs.allocating import allocate
from mpq_onnx.runs.alone import alone_in_output
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.bench import Choice, choose, kept_note
from mpq_onnx.runs.chance_notes import chance_notes
from mpq_onnx.runs.digital_half import check_noise_to_come, digital_half
from mpq_onnx.runs.energy_limits import table_notes
from mpq_onnx.runs.energy_options import EnergyOptions, check_energy_budget
from mpq_onnx.runs.node_rows import energy_rows
from mpq_onnx.runs.noise_bench import COMMON_OPTIONS, EnergyBench, NoiseBench, output_signal_to_noise
from mpq_onnx.runs.noise_check import NoiseCheck, OutputNoise, check_noise
from mpq_onnx.runs.noisy_graph import load_noise_free
from mpq_onnx.runs.option_values import energy_options_by_name, width_options_given
from mpq_onnx.runs.options import AllocateOptions, as_float, check_budgets
from mpq_onnx.runs.output_notes import output_notes
from mpq_onnx.runs.range_notes import range_notes
from mpq_onnx.runs.requests import check_same_request, contents_of, file_state, request_text
from mpq_onnx.runs.results import (
    DIGITAL_FOLDER,
    ENERGY_FILE,
    AllocationResult,
    ResultFolder,
    Sources,
    check_folder,
    folder_configuration,
)
from mpq_onnx.runs.run_folder import progress_folder
from mpq_onnx.runs.target_rules import check_takes_float
from mpq_onnx.runs.time_notes import say_if_by_chance, say_what_is_to_come
from mpq_onnx.runtime.noise_ratios import BATCH_SIZE, NodeSignalToNoise, measure_ratios

CHECKED_DRAWS = 256
TRAINABLE_STORAGES = ("int8", "signed")
"""Forms of stored weights that noise can be allocated on."""


@dataclass(frozen=True, kw_only=True)
class AllocateEnergyResult(AllocationResult[EnergyAllocation]):
    """What was found and written."""

    noise_check: NoiseCheck
    nodes: tuple[NodeSignalToNoise, ...]
    """Signal to noise of every noisy node."""

    DRAWN = "node", "energy_per_mac"

    @property
    def title(self) -> str:
        """What was kept, and its energy."""
        return f"{self.chosen.name}: {energy_text(self.chosen.allocation)}"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a node."""
        return energy_rows(self.chosen.allocation, self.nodes)


@checked_arguments
@alone_in_output
@torch.enable_grad()
def allocate_energy(
    model: ModelSource,
    data: DataSource,
    output: str | os.PathLike[str],
    *,
    energy_per_mac: float | None = None,
    options: EnergyOptions,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    digital: AllocateOptions | None = None,
    calibration: str | os.PathLike[str] | None = None,
    validation: DataSource | None = None,
    resume: bool = False,
    overwrite: bool = False,
    shared: SharedWork | None = None,
    ranks: Ranks = ALONE,
) -> AllocateEnergyResult:
    """Allocate energy per MAC under a budget; write energy.json, model.onnx (noisy) and result.json.

    Args:
        model: the float ONNX file, or a quantized one, or such a model in memory.
        data: data spec, or arrays or a DataLoader (see datasets.in_memory), for sensitivities and training.
        output: the folder to write into; made when missing.
        energy_per_mac: budget for the mean over all MACs, in the noise models' unit (photons for shot noise); may be None
            where options.max bounds columns of options.costs, or stand beside them.
        weight_bits, activation_bits, digital: quantize a float model first, as allocate does, into output/digital.
        calibration: a calibration.json of the float model to reuse for that.
        validation: data spec for choosing between candidates; a quarter of `data`, drawn by the seed, when omitted.
        resume: go on with an interrupted run of the same request in the same folder.
        overwrite: replace what another request has left in the folder; refused otherwise.
        shared: what earlier allocations of the same model have made already, in this process.
        ranks: processes that all call this alike (see runs.joining.joined_ranks); the first writes, all get the result.

    Raises:
        UsageError: an option that is none, or a budget out of reach (found before any work starts).
        MpqOnnxError: see its other subclasses.
    """
    check_energy_budget(energy_per_mac, options)
    model, data = model_source(model), data_source(data)
    validation = optional_source(validation)
    energy_per_mac, weight_bits, activation_bits = map(
        as_float, (energy_per_mac, weight_bits, activation_bits)
    )
    digital = digital_options(weight_bits, activation_bits, digital, options, calibration)
    named = {
        "model": model, "data": data, "validation": validation, "energy_per_mac": energy_per_mac,
        "weight_bits": weight_bits, "activation_bits": activation_bits, **energy_options_by_name(options, digital),
        "calibration": None if calibration is None else str(calibration),
    }  # fmt: skip
    folder = Path(output)
    configuration = folder_configuration(named, folder)
    ranks.first(lambda: check_folder(folder, configuration, overwrite, resume))
    asked = _Asked(
        data,
        validation,
        energy_per_mac,
        options,
        folder,
        configuration,
        resume,
        shared or SharedWork(),
        ranks,
    )
    if digital is None:
        return _allocate_on(model, asked)
    budgets = weight_bits, activation_bits
    check_noise_to_come(model, data, budgets, digital, options, asked.shared, ranks)
    with digital_half(folder, resume, ranks) as is_left:
        quantized = allocate(
            model,
            data,
            folder / DIGITAL_FOLDER,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            calibration=calibration,
            validation=validation,
            resume=resume,
            overwrite=overwrite or is_left or (resume and not isinstance(model, str)),
            options=digital,
            shared=asked.shared,
            ranks=ranks,
        )
        return _allocate_on(quantized.model_path, asked, quantized.notes)


@dataclass(frozen=True)
class _Asked:
    """The request, but for the network."""

    data: str | InMemory
    validation: str | InMemory | None
    energy_per_mac: float | None
    options: EnergyOptions
    folder: Path
    configuration: str
    """See folder_configuration."""
    resume: bool
    shared: SharedWork
    ranks: Ranks


def _allocate_on(
    model: str | GivenModel, asked: _Asked, quantizing: tuple[str, ...] | None = None
) -> AllocateEnergyResult:
    """Allocate the energies of a noise-free network.

    Args:
        quantizing: notes of the digital allocation that made it; None where it is the caller's own.
    """
    options, ranks, shared = asked.options, asked.ranks, asked.shared
    data, validation, energy_per_mac = asked.data, asked.validation, asked.energy_per_mac
    source = file_state(model)
    base = shared.once(("noise-free", source), lambda: load_noise_free(model))
    if METADATA_ALLOCATION not in base.model.metadata_props:
        check_takes_float(options.device_target, base.model, base.path)
    dataset = base.open_data(data).among(ranks)
    held_out = base.open_data(validation).among(ranks) if validation is not None else None
    contents = contents_of(base, {"costs": options.costs}, data=dataset, validation=held_out)
    request = request_text(
        contents,
        options,
        data=data,
        validation=validation,
        energy_per_mac=energy_per_mac,
    )
    check_same_request(ranks, request)
    with progress_folder(asked.folder, request, asked.resume, ranks) as progress:
        common = (*contents.items(), data, validation, *(getattr(options, name) for name in COMMON_OPTIONS))
        noisy = shared.once(
            ("noise", common),
            lambda: NoiseBench(base, dataset, held_out, options, shared.part(("noisy", common))),
        )
        bench = noisy.at(energy_per_mac, options, progress)
        noisy.shared.once("chance", lambda: say_if_by_chance(noisy.validation))
        problem = bench.problem
        say_what_is_to_come(options.chosen_method, problem.data, problem.cost_examples, problem.training)
        choice = choose(bench.measure_all(bench.propose(options.chosen_method)))
        sources = Sources(data, noisy.training, validation, noisy.validation)

        def write() -> AllocateEnergyResult:
            written = ResultFolder(progress, asked.folder)
            written.write_configuration(asked.configuration)
            return _write(energy_per_mac, bench, choice, sources, quantizing, written)

        return ranks.first(write)


def _write(
    energy_per_mac: float | None,
    bench: EnergyBench,
    choice: Choice[EnergyAllocation],
    sources: Sources,
    quantizing: Sequence[str] | None,
    written: ResultFolder,
) -> AllocateEnergyResult:
    """Check the noise of what is kept against the mirror's, and write everything.

    Args:
        quantizing: notes of the digital allocation below; None where there is none.
    """
    kept, noisy, options = choice.kept.result, bench.shared, bench.options
    graph = bench.graph(choice.kept)
    # Few examples are gone through again and again: noise has to be seen often to be known.
    positions = [index % len(noisy.validation_set) for index in range(CHECKED_DRAWS)]
    checked = noisy.validation_set.part(positions)
    size = min(BATCH_SIZE, noisy.validation.most_at_once)
    ratios = measure_ratios(graph, checked, options.device, noisy.mirror.outputs, size)
    found = OutputNoise(ratios.outputs, ratios.output_noises)
    wanted = output_signal_to_noise(bench, choice.kept.candidate, positions)
    check = check_noise(len(set(positions)), len(positions), found, wanted)
    written.write_model(graph, choice, sources, read_provenance(noisy.base.model).get("scaled_tensors"))
    kept.allocation.save(written.results / ENERGY_FILE)
    notes = (
        *_notes(energy_per_mac, options, choice),
        *table_notes(bench.problem.sides[ENERGIES], choice.kept.candidate.energies),
        *range_notes(noisy.base.model, noisy.sites, options.noises),
        *noise_free_notes(noisy.base.model),
        *chance_notes(kept.evaluation),
        *output_notes(kept.evaluation),
    )
    result = AllocateEnergyResult(
        **written.found(choice),
        noise_check=check,
        nodes=ratios.nodes,
        notes=(*(f"quantizing: {note}" for note in quantizing or () if note not in notes), *notes),
    )
    written.finish(result, kept=() if quantizing is None else (DIGITAL_FOLDER,))
    return result


def digital_options(
    weight_bits: float | None,
    activation_bits: float | None,
    digital: AllocateOptions | None,
    options: EnergyOptions,
    calibration: str | os.PathLike[str] | None = None,
) -> AllocateOptions | None:
    """How a float model is quantized before its energies are allocated; None without a budget of bits.

    Raises:
        UsageError: a budget out of reach, a form of storage that noise cannot be added to, or options of widths without one.
    """
    if weight_bits is None and activation_bits is None:
        given = [] if digital is None else width_options_given(digital)
        if calibration is not None:
            given.append("calibration")
        if given:
            raise UsageError(
                f"--{', --'.join(given)}: widths alone have it: give --weight-bits or --activation-bits too, or leave it out"
            )
        return None
    digital = digital or AllocateOptions(seed=options.seed, device=options.device, target=options.target)
    check_budgets(weight_bits, activation_bits, digital)
    if digital.storage not in TRAINABLE_STORAGES:
        raise UsageError(f"storage {digital.storage}: the mirror cannot read it; use int8 with noise")
    if digital.activation_ranges != STATIC:
        raise UsageError(
            f"activation-ranges {digital.activation_ranges}: the mirror cannot read them; use static with noise"
        )
    return digital


def _notes(
    energy_per_mac: float | None, options: EnergyOptions, choice: Choice[EnergyAllocation]
) -> tuple[str, ...]:
    """What is not as it was asked for."""
    why = kept_note(choice, options.chosen_method, "energies")
    notes = [*choice.notes] if why is None else [*choice.notes, why]
    spent = choice.uniform.allocation.mean_energy_per_mac
    if energy_per_mac is not None and not options.max and spent < energy_per_mac * (1 - 1e-9):
        notes.append(
            f"uniform spends {spent:g} of the {energy_per_mac:g} repeats: equal whole repeats cannot spend the rest"
        )
    return tuple(notes)
