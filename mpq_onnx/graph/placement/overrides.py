"""Overrides laid over the sites that a placement found."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeVar

import onnx_ir as ir

from mpq_onnx.arithmetic.overrides import Override, Widths
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.placement.rounded_behind import Makers, makers_of
from mpq_onnx.graph.placement.sites import ActivationSite, Sites, WeightSite, with_sources

Site = TypeVar("Site", WeightSite, ActivationSite)


@dataclass(frozen=True)
class Said:
    """Widths that are given for some tensors, by name; none for float."""

    weights: Mapping[str, Widths] = field(default_factory=dict)
    activations: Mapping[str, Widths] = field(default_factory=dict)


def widths_said(model: ir.Model, sites: Sites, overrides: Sequence[Override]) -> Said:
    """What the overrides say of the sites of `model`; of several for one node, the last.

    A node's outputs are quantized behind the activation function that is fused into it.

    Raises:
        UsageError: one that no node with a weight or a quantized output is meant by.
    """
    if not overrides:
        return Said()
    makers = makers_of(model)
    for each in overrides:
        _check_used(each, sites, makers)
    weights = {site.tensor: _of_weight(site, overrides) for site in sites.weights}
    activations = {site.tensor: _of_activation(site, overrides, makers) for site in sites.activations}
    return Said(
        {tensor: widths for tensor, widths in weights.items() if widths is not None},
        {tensor: widths for tensor, widths in activations.items() if widths is not None},
    )


def with_widths(sites: Sites, said: Said) -> Sites:
    """`sites` with the widths that are given for some of them."""
    if not said.weights and not said.activations:
        return sites
    weights = tuple(_with_widths(site, said.weights.get(site.tensor)) for site in sites.weights)
    activations = [_with_widths(site, said.activations.get(site.tensor)) for site in sites.activations]
    kept = tuple(site for site in activations if site.fixed_bits != 0)
    gone = {site.tensor for site in activations} - {site.tensor for site in kept}
    if gone:
        weights = tuple(
            with_sources(site, lambda use: None if use.source in gone else use.source) for site in weights
        )
    products = tuple(
        dataclasses.replace(site, sources=(_unless(site.sources[0], gone), _unless(site.sources[1], gone)))
        for site in sites.products
    )
    return dataclasses.replace(sites, weights=weights, activations=kept, products=products)


def _unless(tensor: str | None, gone: set[str]) -> str | None:
    return None if tensor in gone else tensor


def _of_weight(site: WeightSite, overrides: Sequence[Override]) -> Widths | None:
    uses = [(use.node, use.op_type) for use in site.uses]
    return _last(each.weights for each in overrides if any(each.matches(*use) for use in uses))


def _of_activation(site: ActivationSite, overrides: Sequence[Override], makers: Makers) -> Widths | None:
    nodes = _nodes_of(site, makers)
    return _last(each.activations for each in overrides if any(each.matches(*node) for node in nodes))


def _last(said: Iterable[Widths | None]) -> Widths | None:
    return next((each for each in reversed(list(said)) if each is not None), None)


def _nodes_of(site: ActivationSite, makers: Makers) -> list[tuple[str, str]]:
    """(name, operator) of the node, and of those whose outputs are quantized behind it."""
    return [(site.node, site.op_type), *makers.get(site.node, ())]


def _with_widths(site: Site, widths: Widths | None) -> Site:
    """The site with what was said: float, a fixed width outside the budget, or choices of its own."""
    if widths is None:
        return site
    if not widths:
        return dataclasses.replace(site, fixed_bits=0, choices=None)
    if site.fixed_bits is not None and len(widths) == 1 and widths[0] == int(widths[0]):
        return dataclasses.replace(site, fixed_bits=int(widths[0]))
    return dataclasses.replace(site, fixed_bits=None, choices=widths)


def _check_used(override: Override, sites: Sites, makers: Makers) -> None:
    weights = [(use.node, use.op_type) for site in sites.weights for use in site.uses]
    outputs = [node for site in sites.activations for node in _nodes_of(site, makers)]
    for side, said, nodes in (
        ("weights", override.weights, weights),
        ("outputs", override.activations, outputs),
    ):
        if said and not any(override.matches(*node) for node in nodes):
            raise UsageError(_unused(override, side, nodes))
    if not any(override.matches(*node) for node in (*weights, *outputs)):
        raise UsageError(_unused(override, "weights or outputs", [*weights, *outputs]))


def _unused(override: Override, what: str, nodes: Sequence[tuple[str, str]]) -> str:
    near = get_close_matches(override.pattern, dict.fromkeys(name for node in nodes for name in node), 1)
    hint = f"; meant is {near[0]}?" if near else ""
    said = "exclude" if override.weights == () and override.activations == () else "override"
    return f"{said} {override.pattern}: no node of that name or operator has quantized {what}{hint}"
