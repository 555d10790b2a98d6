"""Which tensors get a quantizer: a placement looks at a float graph and lists its quantization sites.

One placement a file; a new one is one file and one line in registries.PLACEMENTS.
"""

import dataclasses
from collections.abc import Callable, Sequence

import onnx_ir as ir

from mpq_onnx.arithmetic.overrides import Override
from mpq_onnx.graph.example_layout import Layouts
from mpq_onnx.graph.placement.embeddings import EMBEDDING_BITS, embedding_sites
from mpq_onnx.graph.placement.first_and_last import fix_first_and_last
from mpq_onnx.graph.placement.float_parameters import float_parameters
from mpq_onnx.graph.placement.graph_roles import quantized_source
from mpq_onnx.graph.placement.overrides import Said, widths_said, with_widths
from mpq_onnx.graph.placement.sites import (
    ActivationSite,
    FloatParameter,
    ProductSite,
    Shapes,
    Sites,
    WeightSite,
    WeightUse,
    product_sites,
    weight_sites,
    with_sources,
)
from mpq_onnx.graph.roles import COMPUTED, value_roles
from mpq_onnx.registries import INCLUDE, PLACEMENTS

Restriction = Callable[[Sites, Said], tuple[Sites, Said]]
"""(sites, what overrides say of them) -> both, as a device takes them."""


def find_sites(
    model: ir.Model,
    shapes: Shapes,
    placement: str = "all",
    embedding_bits: int = EMBEDDING_BITS,
    first_last: str = INCLUDE,
    layouts: Layouts | None = None,
    overrides: Sequence[Override] = (),
    restrict: Restriction | None = None,
) -> Sites:
    """All weight and activation sites of a canonical float model.

    Args:
        model: a canonical float model.
        shapes: the shape of every tensor for one example (batch 1).
        placement: a name in PLACEMENTS.
        embedding_bits: width of embedding tables; 0 leaves them float.
        first_last: one of FIRST_LAST.
        layouts: where the examples lie in every tensor, if known.
        overrides: precision given for some nodes.
        restrict: what a device takes of that.

    Raises:
        UsageError: an override that no node is meant by, or that `restrict` refuses.
    """
    roles = value_roles(model)
    activations = PLACEMENTS[placement](model, shapes, roles)
    quantized = {site.tensor for site in activations}

    def source(tensor: str | None) -> str | None:
        return None if tensor is None else quantized_source(model, tensor, quantized)

    weights = tuple(
        site
        for site in weight_sites(model, shapes, layouts or {})
        if any(roles.roles[use.output] in COMPUTED for use in site.uses)  # not the angles of positions
    )
    products = tuple(
        dataclasses.replace(site, sources=(source(site.sources[0]), source(site.sources[1])))
        for site in product_sites(model, shapes, weights)
    )
    found = [
        with_sources(site, lambda use: None if use.is_fed_back else source(use.input)) for site in weights
    ]
    found += embedding_sites(model, {site.tensor for site in weights}, embedding_bits)
    parameters = float_parameters(model, {site.tensor for site in found})
    order = [str(value.name) for value in model.graph.inputs] + [str(node.name) for node in model.graph]
    fixed = fix_first_and_last(
        Sites(tuple(found), activations, tuple(order), products, parameters), first_last
    )
    said = widths_said(model, fixed, overrides)
    if restrict is not None:
        fixed, said = restrict(fixed, said)
    return with_widths(fixed, said)


__all__ = [
    "EMBEDDING_BITS",
    "ActivationSite",
    "FloatParameter",
    "ProductSite",
    "Restriction",
    "Said",
    "Shapes",
    "Sites",
    "WeightSite",
    "WeightUse",
    "find_sites",
]
