"""A float network that is quantized before its energies are allocated: what is refused first, and what a refused run leaves."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mpq_onnx.datasets import InMemory
from mpq_onnx.errors import MpqOnnxError, UsageError
from mpq_onnx.files import here
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.graph.placement.mac_sites import MissingRange, missing_range
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.precision.width_budgets import WidthBudgets
from mpq_onnx.ranks import ALONE, Ranks
from mpq_onnx.runs.earlier_results import holder, remove
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.noisy_graph import simulated_sites
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runs.requests import file_state
from mpq_onnx.runs.resource_limits import width_budgets
from mpq_onnx.runs.results import DIGITAL_FOLDER
from mpq_onnx.runs.run_folder import PROGRESS_FOLDER
from mpq_onnx.runtime.tensors import tensor_facts


def check_noise_to_come(
    model: str | GivenModel,
    data: str | InMemory,
    budgets: tuple[float | None, float | None],
    digital: AllocateOptions,
    options: EnergyOptions,
    shared: SharedWork | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """See, before any work, that the network can be made noisy when its widths are allocated.

    Args:
        model, data: as for allocate_energy.
        budgets: of weight and activation bits.

    Raises:
        UsageError: an operand stays in float whose quantizer's range a noise model needs.
        ModelError: no multiply-accumulates, or some inside recurrent layers.
    """
    shared = shared or SharedWork()
    float_model = shared.once(("model", file_state(model)), lambda: load_float_model(model))
    dataset = float_model.open_data(data).among(ranks)
    facts = tensor_facts(float_model.model, dataset, digital.device)
    sites = simulated_sites(float_model.model, facts.shapes, float_model.path, options, {})
    widths = width_budgets(float_model.model, facts, budgets, digital, float_model.path)
    held, streamed = _quantized_operands(widths)
    for site in sites:
        missing = missing_range(site, options.noises, site.node in held, site.node in streamed)
        if missing is not None:
            raise UsageError(f"{missing}, which {_what_to_do(missing, widths)}")


def _quantized_operands(widths: WidthBudgets) -> tuple[set[str], set[str]]:
    """The nodes whose held operand will have a quantizer, and those whose streamed operand will."""
    budget, sites = widths.budget, widths.sites
    activations = set() if budget.activation_bits is None else {site.tensor for site in sites.activations}
    uses = [(site, use) for site in sites.weights for use in site.uses]
    held = {use.node for site, use in uses if budget.weight_bits is not None and site.fixed_bits != 0}
    held |= {site.node for site in sites.products if site.sources[1] in activations}
    streamed = {use.node for _, use in uses if use.source in activations}
    streamed |= {site.node for site in sites.products if site.sources[0] in activations}
    return held, streamed


def _what_to_do(missing: MissingRange, widths: WidthBudgets) -> str:
    is_weight = any(site.tensor == missing.tensor for site in widths.sites.weights)
    given = widths.budget.weight_bits if is_weight else widths.budget.activation_bits
    if given is None:
        return f"stays in float: give --{'weight' if is_weight else 'activation'}-bits 8, too"
    return "these options leave in float (exclude, override, first-last, placement, target): let it have a width, too"


@contextlib.contextmanager
def digital_half(folder: Path, resume: bool, ranks: Ranks = ALONE) -> Iterator[bool]:
    """While a network is quantized and made noisy in `folder`; a refusal takes the digital half away that this run has made.

    Yields whether one is there that an interrupted run has left, and that nothing goes on from.
    """
    place = here(folder)
    digital, progress = place / DIGITAL_FOLDER, place / PROGRESS_FOLDER
    has_digital, is_interrupted = ranks.first(
        lambda: (digital.exists(), progress.is_dir() and holder(place) is None)
    )
    is_left = has_digital and is_interrupted and not resume
    is_ours = is_left or not has_digital
    if is_ours:  # what tells a digital half that is left from a result that was there before
        ranks.first(lambda: progress.mkdir(parents=True, exist_ok=True))
    try:
        yield is_left
    except MpqOnnxError:
        if is_ours and ranks.is_first:
            remove(place, [DIGITAL_FOLDER, *([] if is_interrupted else [PROGRESS_FOLDER])])
        raise
