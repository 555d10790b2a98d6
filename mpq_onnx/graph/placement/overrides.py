"""Overrides laid over the sites that a placement found."""

import dataclasses
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeVar

import onnx_ir as ir

from mpq_onnx.arithmetic.overrides import Override, Widths
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.placement.graph_roles import fused_into
from mpq_onnx.graph.placement.sites import ActivationSite, Sites, WeightSite, with_sources

Site = TypeVar("Site", WeightSite, ActivationSite)
Makers = dict[str, list[tuple[str, str]]]
"""(name, operator) of the nodes that an activation function is fused into, by its name."""


def apply_overrides(model: ir.Model, sites: Sites, overrides: Sequence[Override]) -> Sites:
    """`sites` of `model` as the overrides say; of several for one node, the last.

    A node's outputs are quantized behind the activation function that is fused into it.

    Raises:
        UsageError: one that no node with a weight or a quantized output is meant by.
    """
    makers = _makers(model)
    for each in overrides:
        _check_used(each, sites, makers)
    weights = tuple(_weight(site, overrides) for site in sites.weights)
    activations = [_activation(site, overrides, makers) for site in sites.activations]
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


def _weight(site: WeightSite, overrides: Sequence[Override]) -> WeightSite:
    uses = [(use.node, use.op_type) for use in site.uses]
    said = [each.weights for each in overrides if any(each.matches(*use) for use in uses)]
    return _with_widths(site, said)


def _activation(site: ActivationSite, overrides: Sequence[Override], makers: Makers) -> ActivationSite:
    nodes = _nodes_of(site, makers)
    said = [each.activations for each in overrides if any(each.matches(*node) for node in nodes)]
    return _with_widths(site, said)


def _nodes_of(site: ActivationSite, makers: Makers) -> list[tuple[str, str]]:
    """(name, operator) of the node, and of those whose outputs are quantized behind it."""
    return [(site.node, site.op_type), *makers.get(site.node, [])]


def _makers(model: ir.Model) -> Makers:
    found: Makers = {}
    for node in model.graph:
        end = fused_into(node)
        while end is not None and (more := fused_into(end)) is not None:
            end = more
        if end is not None:
            found.setdefault(str(end.name), []).append((str(node.name), node.op_type))
    return found


def _with_widths(site: Site, said: Sequence[Widths | None]) -> Site:
    """The site with the last widths that were said: float, a fixed width outside the budget, or choices of its own."""
    widths = next((each for each in reversed(said) if each is not None), None)
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
    return f"override {override.pattern}: no node of that name or operator has quantized {what}{hint}"
