"""apply: write the QDQ file of a given allocation.json, which may have been edited by hand; nothing is trained."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpq_onnx.arithmetic.overrides import read_overrides
from mpq_onnx.datasets import DataSource, optional_source
from mpq_onnx.datasets.sampling import drawn
from mpq_onnx.documents.allocation import Allocation, Settings
from mpq_onnx.documents.precision_document import NOISE_TO_BITS
from mpq_onnx.errors import AllocationError, UsageError, check_choice
from mpq_onnx.files import check_name, check_other_file
from mpq_onnx.graph.given_model import ModelSource
from mpq_onnx.graph.model_file import MODEL_SUFFIXES, save_model
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.registries import NEAREST, PLACEMENTS, ROUNDINGS, STORAGES, WEIGHT_OBSERVERS
from mpq_onnx.report.card import make_card
from mpq_onnx.report.card_text import write_card
from mpq_onnx.report.provenance import DataFacts, Provenance, embed_provenance
from mpq_onnx.rounding.network import quantize_network
from mpq_onnx.rounding.without_data import to_nearest
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.equalizing import equalized
from mpq_onnx.runs.float_notes import uncounted_notes
from mpq_onnx.runs.node_rows import width_rows
from mpq_onnx.runs.preparation import (
    CalibrationRules,
    check_covers,
    check_fingerprint,
    check_measured_as,
    load_float_model,
    measure_calibration,
    read_calibration,
)
from mpq_onnx.runs.quantized_graph import write_graph
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.run_folder import CALIBRATION_FILE
from mpq_onnx.runs.speed_note import speed_notes
from mpq_onnx.runs.target_options import check_settings, storage_for
from mpq_onnx.runs.target_rules import rules_of
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import tensor_facts
from mpq_onnx.targets.loading import load_target, recorded_target

if TYPE_CHECKING:
    from mpq_onnx.runs.mirror_check import MirrorCheck

EARLIER_ROUNDING_EXAMPLES = 1024
"""Of allocations that do not say how many."""
ONE_EXAMPLE = "random?count=1"
"""What files run on where no data is given."""


@dataclass(frozen=True)
class ApplyResult(Result):
    """What was written."""

    path: str
    bytes: int
    storage: str
    allocation: Allocation
    mirror_check: "MirrorCheck | None"
    """None where no data was given."""
    notes: tuple[str, ...] = ()
    """What a user of the file should know, one line each."""

    DRAWN = "node", "weight_bits"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a node."""
        return width_rows(self.allocation)


@checked_arguments
def apply(
    model: ModelSource,
    allocation: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    data: DataSource | None = None,
    calibration: str | os.PathLike[str] | None = None,
    storage: str | None = None,
    target: str | None = None,
    rounding_examples: int | None = None,
    device: str = "auto",
) -> ApplyResult:
    """Quantize `model` as `allocation` says.

    Args:
        data: data spec; needed for adaptive rounding, for bias correction, and where there is no calibration.
        calibration: calibration.json of this model; by default the one beside `allocation`.
        storage: a name in registries.STORAGES; that of the target when omitted, without one int8.
        rounding_examples: for rounding and bias correction; as many as the allocation says when omitted.
        target: the device, a shipped name or a file; the one that `allocation` was made for when omitted.

    Raises:
        AllocationError: the allocation is malformed or another model's, or a target does not take it.
        MpqOnnxError: see its other subclasses.
    """
    check_name(output, MODEL_SUFFIXES, "the model")
    if storage is not None:
        check_choice("storage", storage, STORAGES)
    given = None if target is None else load_target(target)
    wanted = Allocation.load(allocation)
    _check_settings(wanted, str(allocation))
    made_for = recorded_target(wanted.settings.target)
    storage = storage_for(given or made_for, storage)
    data = optional_source(data)
    check_other_file(output, model, "the float model")
    float_model = load_float_model(model)
    check_fingerprint(wanted.model, float_model, str(allocation))
    settings = wanted.settings
    if data is None:
        _check_needs_no_data(settings, str(allocation))
    dataset = drawn(float_model.open_data(data), settings.seed) if data is not None else None
    beside = Path(allocation).parent / CALIBRATION_FILE
    if calibration is not None or beside.is_file():
        measured = read_calibration(calibration or beside, float_model)
        check_measured_as(
            measured, str(calibration or beside), observer=settings.activation_observer,
            scheme=settings.activation_scheme, equalization=settings.equalization,
        )  # fmt: skip
    elif dataset is not None:
        rules = CalibrationRules(
            settings.activation_observer,
            settings.placement,
            settings.activation_scheme,
            settings.equalization,
        )
        measured = measure_calibration(float_model, dataset, rules, device)
    else:
        raise UsageError(f"no {CALIBRATION_FILE} beside {allocation}: give --calibration or --data")
    scaled = equalized(float_model.model, measured.channel_factors, measured.shapes)
    layouts = tensor_facts(scaled, dataset, device).layouts if dataset is not None else None
    sites = find_sites(
        scaled,
        measured.shapes,
        settings.placement,
        settings.embedding_bits,
        settings.first_last,
        layouts,
        read_overrides(settings.override, settings.exclude),
        rules_of(scaled, wanted, made_for).restriction,
    )
    wanted.check_against(sites, str(allocation))
    wanted = wanted.completed(sites)
    for each in (made_for if settings.method != NOISE_TO_BITS else None, given):
        check_settings(each, settings, str(allocation))
        rules_of(scaled, wanted, each).check(sites, wanted, str(allocation), AllocationError)
    check_covers(measured, sites, str(calibration or beside))
    check, seen = None, None
    noted: tuple[str, ...] = ()
    if dataset is None and settings.rounding == NEAREST:
        network = quantize_network(
            scaled, sites, wanted, measured,
            lambda grids, _: to_nearest(scaled, sites, grids, settings.variance_correction),
        )  # fmt: skip
        graph = write_graph(scaled, wanted, network, storage)
    else:
        from mpq_onnx.runs.applying_on_mirror import quantize_on_mirror  # needs torch

        examples = rounding_examples or settings.rounding_examples or EARLIER_ROUNDING_EXAMPLES
        checked = quantize_on_mirror(
            scaled, float_model.path, sites, wanted, measured, dataset, examples=examples, storage=storage,
            device=device,
        )  # fmt: skip
        graph, check, seen, noted = checked.graph, checked.check, checked.data, checked.notes
    embed_provenance(graph, Provenance(seen, None, None, scaled_tensors=measured.scaled_tensors))
    notes = (  # before anything is written: a file that does not run takes no other's place
        *noted,
        *_examples_notes(settings, seen),
        *uncounted_notes(scaled),
        *speed_notes(
            Runner(float_model.model, device),
            Runner(graph, device),
            float_model.open_data(ONE_EXAMPLE) if dataset is None else dataset,
        ),
    )
    size = save_model(graph, output)
    write_card(make_card(graph, size), Path(output).parent, f"{Path(output).stem}.")
    return ApplyResult(str(output), size, storage, wanted, check, notes)


def _examples_notes(settings: Settings, seen: DataFacts | None) -> tuple[str, ...]:
    """Why the numbers may not be those of the file that allocate wrote."""
    if seen is None or not (settings.bias_correction or ROUNDINGS[settings.rounding].needs_moments):
        return ()
    return (
        f"weights are rounded and biases corrected on up to {seen.examples} examples of --data: as in allocate's own file where"
        " it saw the same (three quarters of its --data, where there was no --validation)",
    )


def _check_needs_no_data(settings: Settings, where: str) -> None:
    """Raise UsageError, with what to change, for settings that cannot be kept without data."""
    needs = []
    if ROUNDINGS[settings.rounding].needs_moments:
        needs.append(
            (f"{settings.rounding} rounding looks at what each layer multiplies", '"rounding" to "nearest"')
        )
    if settings.bias_correction:
        needs.append(
            ("bias correction measures the mean error of every channel", '"bias_correction" to false')
        )
    if needs:
        reasons, edits = (" and ".join(texts) for texts in zip(*needs, strict=True))
        raise UsageError(f"{where}: {reasons}: give --data, or set {edits} in it")


def _check_settings(allocation: Allocation, where: str) -> None:
    settings = allocation.settings
    for name, value, choices in (
        ("rounding", settings.rounding, ROUNDINGS),
        ("placement", settings.placement, PLACEMENTS),
        ("weight_observer", settings.weight_observer, WEIGHT_OBSERVERS),
    ):
        if value not in choices:
            raise AllocationError(f"{where}: settings/{name} {value}: choose one of {', '.join(choices)}")
