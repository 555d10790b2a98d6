"""What is left of a budget of bits, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.arithmetic.quantization import counted_bits
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.precision.measures import MEAN
from mpq_onnx.precision.problem import Levels
from mpq_onnx.precision.width_budgets import WidthBudgets
from mpq_onnx.runs.bench import UNIFORMS
from mpq_onnx.runs.options import AllocateOptions

WORTH_SAYING = 0.01
"""Bits of a budget."""


@dataclass(frozen=True)
class _Width:
    """One weight, one of its channels, or one activation."""

    bits: float
    """As they count."""
    elements: float
    choices: Sequence[float]
    """Widths that it may have."""


def unspent_notes(
    allocation: Allocation,
    weight_bits: float | None,
    activation_bits: float | None,
    options: AllocateOptions,
    bounds: WidthBudgets,
    levels: Mapping[str, Levels],
) -> tuple[str, ...]:
    """A line for each budget of which more than WORTH_SAYING is left, where wider choices were there to spend it on.

    None beside limits that bind, which leave of a mean what they must.

    Args:
        levels: of the allocation, by kind.
    """
    if bounds.joint is not None and bounds.joint.limits_bind(levels):
        return ()
    sites = bounds.sites
    nodes = allocation.nodes
    own = {site.tensor: site.choices for site in sites.weights}
    own |= {site.tensor: site.choices for site in sites.activations}
    weights = [
        _Width(
            counted_bits(width),
            node.weight_elements / np.size(node.weight_bits),
            own.get(str(node.weight)) or options.bit_choices,
        )
        for node in nodes
        if node.weight_counted and node.weight_elements and node.weight_bits is not None
        for width in np.atleast_1d(node.weight_bits)
    ]
    activations = [
        _Width(bits, node.activation_elements, own.get(str(node.activation)) or options.activation_choices)
        for node in nodes
        if node.activation_counted and (bits := node.counted_activation_bits) is not None
    ]
    found = (
        _note("weight-bits", weight_bits, weights, options.bit_choices, MEAN, allocation),
        _note(
            "activation-bits",
            activation_bits,
            activations,
            options.activation_choices,
            options.activation_budget,
            allocation,
        ),
    )
    return tuple(note for note in found if note is not None)


def _note(
    name: str,
    budget: float | None,
    widths: Sequence[_Width],
    choices: Sequence[float],
    measure: str,
    allocation: Allocation,
) -> str | None:
    if budget is None or not widths or budget > max(map(counted_bits, choices)):
        return None
    bits = np.array([each.bits for each in widths])
    elements = np.array([each.elements for each in widths])
    amounts = bits * elements
    if measure == MEAN:
        spent, room = amounts.sum() / elements.sum(), budget * elements.sum() - amounts.sum()
        rooms = np.full(len(widths), room)
    else:
        spent = amounts.max() / elements.max()
        rooms = budget * elements.max() - amounts
    if budget - spent <= WORTH_SAYING:
        return None
    steps = np.array([_step(each.bits, each.choices) for each in widths]) * elements
    return f"{budget - spent:.2f} of --{name} {budget:g} are left unspent: {_reason(steps, rooms, name, allocation)}"


def _step(bits: float, choices: Sequence[float]) -> float:
    """From a width to the next wider choice; infinite where there is none."""
    wider = [counted for choice in choices if (counted := counted_bits(choice)) > bits + 1e-9]
    return min(wider, default=np.inf) - bits


def _reason(steps: np.ndarray, rooms: np.ndarray, name: str, allocation: Allocation) -> str:
    settings = allocation.settings
    if np.isinf(steps).all():
        return "every tensor has the widest width that it may have"
    if settings.method in UNIFORMS:
        return "the next width for all would exceed it"
    fits = int((steps <= rooms * (1 + 1e-9)).sum())
    if not fits:
        return "no tensor's next width fits into it"
    observer = settings.weight_observer if name == "weight-bits" else settings.activation_observer
    return (
        f"{fits} tensors or channels could be wider, but with the ranges that observer {observer} finds more bits promise no"
        " smaller error there"
    )
