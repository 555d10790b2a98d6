"""apply for energies: write the noisy file of a given energy.json, which may have been edited by hand; nothing is trained."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpq_onnx.datasets import DataSource, data_source
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import AllocationError, check_choice
from mpq_onnx.files import check_name, check_other_file
from mpq_onnx.graph.given_model import ModelSource
from mpq_onnx.graph.model_file import MODEL_SUFFIXES, save_model
from mpq_onnx.registries import NOISE_DRAWS
from mpq_onnx.report.card import make_card
from mpq_onnx.report.card_text import write_card
from mpq_onnx.report.left_out import noise_free_notes
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.node_rows import energy_rows
from mpq_onnx.runs.noisy_graph import find_mac_sites, load_noise_free, write_noisy_graph
from mpq_onnx.runs.preparation import check_fingerprint
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.target_options import check_energy_settings
from mpq_onnx.targets.loading import load_target, recorded_target

SHAPES_FROM = "random?count=1"


@dataclass(frozen=True)
class ApplyEnergyResult(Result):
    """What was written."""

    path: str
    bytes: int
    allocation: EnergyAllocation
    notes: tuple[str, ...] = ()

    DRAWN = "node", "energy_per_mac"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a node."""
        return energy_rows(self.allocation)


@checked_arguments
def apply_energy(
    model: ModelSource,
    allocation: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    data: DataSource | None = None,
    target: str | None = None,
    device: str = "auto",
    noise_draws: str | None = None,
) -> ApplyEnergyResult:
    """Make `model`, float or quantized, noisy as `allocation` says.

    Args:
        data: data spec; needed only where random inputs cannot tell the shapes of the model's tensors.
        target: the device, a shipped name or a file; the one that `allocation` was made for when omitted.
        noise_draws: a name in NOISE_DRAWS; as `allocation` says when omitted.

    Raises:
        AllocationError: the energy allocation is malformed or another model's.
        MpqOnnxError: see its other subclasses.
    """
    check_name(output, MODEL_SUFFIXES, "the model")
    check_other_file(output, model, "the model that it is made from")
    wanted = EnergyAllocation.load(allocation)
    if noise_draws is not None:
        check_choice("noise draws", noise_draws, NOISE_DRAWS)
        wanted = dataclasses.replace(
            wanted, settings=dataclasses.replace(wanted.settings, noise_draws=noise_draws)
        )
    base = load_noise_free(model)
    try:
        check_fingerprint(wanted.model, base, str(allocation))
    except AllocationError as error:
        raise AllocationError(
            f"{error}; one that was made with --weight-bits or --activation-bits belongs to digital/model.onnx beside it"
        ) from None
    settings = wanted.settings
    for device_target in (recorded_target(settings.target), None if target is None else load_target(target)):
        check_energy_settings(device_target, settings, str(allocation))
    options = EnergyOptions(settings.noise, compat=settings.compat, device=device)
    sites = find_mac_sites(base, base.open_data(SHAPES_FROM if data is None else data_source(data)), options)
    wanted.check_against(sites, str(allocation))
    graph = write_noisy_graph(base.model, sites, wanted)
    size = save_model(graph, output)
    write_card(make_card(graph, size), Path(output).parent, f"{Path(output).stem}.")
    return ApplyEnergyResult(str(output), size, wanted, noise_free_notes(base.model))
