"""Weights to the nearest points of their grids, one by one: what needs neither data nor a mirror. No torch here."""

from collections.abc import Mapping

import onnx_ir as ir

from mpq_onnx.arithmetic.weights import WeightGrid, quantize_to_nearest
from mpq_onnx.graph.placement import Sites
from mpq_onnx.rounding.result import RoundingResult, constant, with_variance_of


def to_nearest(
    model: ir.Model, sites: Sites, grids: Mapping[str, WeightGrid], variance_correction: bool
) -> RoundingResult:
    """The same numbers as layerwise rounding by the method "nearest" without bias correction.

    Args:
        variance_correction: see layerwise.Corrections.
    """
    result = RoundingResult({}, {}, {})
    for site in sites.weights:
        if site.tensor in grids:
            weight = constant(model, site.tensor)
            rounded = quantize_to_nearest(weight, site.channel_axis, grids[site.tensor])
            result.weights[site.tensor] = (
                with_variance_of(rounded, weight) if variance_correction else rounded
            )
    return result
