"""allocate with noise: find the energies per MAC that a budget is best spent on, and write the noisy file."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from mpq_onnx.errors import UsageError
from mpq_onnx.files import write_text
from mpq_onnx.model_file import save_model
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.card import make_card
from mpq_onnx.report.card_text import write_card
from mpq_onnx.report.provenance import DataFacts, Provenance, embed_provenance, read_provenance
from mpq_onnx.runtime.noise_ratios import NodeSignalToNoise, measure_ratios
from mpq_onnx.workflows.allocating import MODEL_FILE, RESULT_FILE, allocate
from mpq_onnx.workflows.energy_options import EnergyOptions, check_energy_budget
from mpq_onnx.workflows.keeping import best_of
from mpq_onnx.workflows.noise_bench import (
    EnergyCandidateResult,
    NoiseBench,
    load_noise_free,
    output_signal_to_noise,
)
from mpq_onnx.workflows.noise_check import NoiseCheck, OutputNoise, check_noise
from mpq_onnx.workflows.options import AllocateOptions, check_budgets
from mpq_onnx.workflows.output_notes import output_notes
from mpq_onnx.workflows.requests import contents_of, request_text
from mpq_onnx.workflows.run_folder import LOG_FILE, progress_folder, publish

ENERGY_FILE = "energy.json"
DIGITAL_FOLDER = "digital"
CHECKED_EXAMPLES = 256
TRAINABLE_STORAGES = ("int8",)
"""Forms of stored weights that noise can be allocated on."""


@dataclass(frozen=True)
class AllocateEnergyResult:
    """What was found and written."""

    folder: str
    model_path: str
    bytes: int
    chosen: EnergyCandidateResult
    uniform: EnergyCandidateResult
    """The baseline at the same budget."""
    candidates: tuple[EnergyCandidateResult, ...]
    """All that were measured."""
    noise_check: NoiseCheck
    nodes: tuple[NodeSignalToNoise, ...]
    """Signal to noise of every noisy node."""
    loses_to_uniform: bool
    """True when what the asked-for method found was worse than uniform, which is kept instead."""
    notes: tuple[str, ...] = ()
    """What is not as it was asked for, one line each."""


@torch.enable_grad()
def allocate_energy(
    model: str | os.PathLike[str],
    data: str,
    output: str | os.PathLike[str],
    *,
    energy_per_mac: float,
    options: EnergyOptions,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    digital: AllocateOptions | None = None,
    validation: str | None = None,
    resume: bool = False,
) -> AllocateEnergyResult:
    """Allocate energy per MAC under a budget; write energy.json, model.onnx (noisy) and result.json.

    Args:
        model: the float ONNX file, or a quantized one.
        data: data spec for sensitivities and training.
        output: the folder to write into; made when missing.
        energy_per_mac: budget for the mean over all MACs, in the noise models' unit (photons for shot noise).
        weight_bits, activation_bits, digital: quantize a float model first, as allocate does, into output/digital.
        validation: data spec for choosing between candidates; a quarter of `data`, drawn by the seed, when omitted.
        resume: go on with an interrupted run of the same request in the same folder.

    Raises:
        UsageError: an option that is none, or a budget out of reach (found before any work starts).
        MpqOnnxError: see its other subclasses.
    """
    check_energy_budget(energy_per_mac, options)
    folder = Path(output)
    quantizing: tuple[str, ...] = ()
    if weight_bits is not None or activation_bits is not None:
        quantized = allocate(
            model,
            data,
            folder / DIGITAL_FOLDER,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            validation=validation,
            resume=resume,
            options=digital_options(weight_bits, activation_bits, digital, options),
        )
        model = quantized.model_path
        quantizing = quantized.notes
    base = load_noise_free(model)
    dataset = base.open_data(data)
    held_out = base.open_data(validation) if validation is not None else None
    request = request_text(
        contents_of(base, data=dataset, validation=held_out),
        options,
        data=data,
        validation=validation,
        energy_per_mac=energy_per_mac,
    )
    with progress_folder(folder, request, resume) as progress:
        bench = NoiseBench(base, dataset, held_out, options)
        candidates = bench.candidates(energy_per_mac, progress)
        measured = bench.measure_all(candidates, energy_per_mac)
        uniform, chosen = measured[0], best_of(measured[0], measured)
        best = next(each for each, result in zip(candidates, measured, strict=True) if result is chosen)
        graph = bench.graph(chosen.allocation)
        # Few examples are gone through again and again: noise has to be seen often to be known.
        positions = [index % len(bench.validation_set) for index in range(CHECKED_EXAMPLES)]
        checked = bench.validation_set.part(positions)
        ratios = measure_ratios(graph, checked, options.device, bench.mirror.outputs)
        found = OutputNoise(ratios.outputs, ratios.output_noises)
        check = check_noise(len(positions), found, output_signal_to_noise(bench, best, positions))
        results = progress / "results"
        embed_provenance(
            graph,
            Provenance(
                training=DataFacts(data, len(bench.training), bench.training.sha256),
                validation=DataFacts(validation or data, len(bench.validation), bench.validation.sha256),
                accuracy=chosen.evaluation,
                uniform=uniform.evaluation,
                scaled_tensors=read_provenance(base.model).get("scaled_tensors"),
            ),
        )
        notes = (*_notes(energy_per_mac, options, chosen, measured), *output_notes(chosen.evaluation))
        size = save_model(graph, results / MODEL_FILE)
        write_card(make_card(graph, size), results)
        chosen.allocation.save(results / ENERGY_FILE)
        if (progress / LOG_FILE).is_file():
            (progress / LOG_FILE).replace(results / LOG_FILE)
        result = AllocateEnergyResult(
            folder=str(folder),
            model_path=str(folder / MODEL_FILE),
            bytes=size,
            chosen=chosen,
            uniform=uniform,
            candidates=tuple(measured),
            noise_check=check,
            nodes=ratios.nodes,
            loses_to_uniform=chosen is uniform and bool(_others(measured)),
            notes=(*(f"quantizing: {note}" for note in quantizing if note not in notes), *notes),
        )
        write_text(results / RESULT_FILE, to_json(result) + "\n")
        publish(results, folder)
    return result


def digital_options(
    weight_bits: float | None,
    activation_bits: float | None,
    digital: AllocateOptions | None,
    options: EnergyOptions,
) -> AllocateOptions:
    """How a float model is quantized before its energies are allocated.

    Raises:
        UsageError: a budget out of reach, or a form of storage that no noise can be added to.
    """
    digital = digital or AllocateOptions(seed=options.seed, device=options.device)
    check_budgets(weight_bits, activation_bits, digital)
    if digital.storage not in TRAINABLE_STORAGES:
        raise UsageError(f"storage {digital.storage}: the mirror cannot read it; use int8 with noise")
    return digital


def _others(measured: list[EnergyCandidateResult]) -> list[str]:
    """Names of what has other energies than uniform, the first."""
    return [each.name for each in measured if each.evaluation is not measured[0].evaluation]


def _notes(
    energy_per_mac: float,
    options: EnergyOptions,
    chosen: EnergyCandidateResult,
    measured: list[EnergyCandidateResult],
) -> tuple[str, ...]:
    """What is not as it was asked for."""
    notes = []
    uniform, others = measured[0], _others(measured)
    if chosen is uniform and others:
        notes.append(f"{uniform.name} is kept: {', '.join(others)} did no better on the validation data")
    elif chosen is uniform and options.method != uniform.name:
        notes.append(f"{uniform.name} is kept: {options.method} found the same energies")
    spent = uniform.allocation.mean_energy_per_mac
    if spent < energy_per_mac * (1 - 1e-9):
        notes.append(
            f"uniform spends {spent:g} of the {energy_per_mac:g} repeats: equal whole repeats cannot spend the rest"
        )
    return tuple(notes)
