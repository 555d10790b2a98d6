"""The grid of a weight that a site, its width and the rules for all weights make. No torch here."""

import dataclasses

import numpy as np

from mpq_onnx.arithmetic.quantization import INT8, SMALLEST_SCALE
from mpq_onnx.arithmetic.saturation import NEIGHBOURS, with_unsaturated_scales
from mpq_onnx.arithmetic.weights import WeightGrid, WeightRules, channel_rows, weight_grid
from mpq_onnx.graph.placement import WeightSite
from mpq_onnx.registries import PER_TENSOR


def site_grid(
    site: WeightSite, weight: np.ndarray, bits: np.ndarray, rules: WeightRules, range_factor: float = 1.0
) -> WeightGrid:
    """The grid of every output channel at its own width.

    Args:
        weight: the float weight of `site`.
        bits: [channels].
        rules: with the weight's own scheme and scales.
        range_factor: of the range that the observer finds.
    """
    own = rules.with_one_scale(site.has_one_scale and not site.is_table)
    found = weight_grid(channel_rows(weight, site.channel_axis), bits, own)
    scale = (found.scale * range_factor).clip(min=SMALLEST_SCALE).astype(np.float32)
    grid = dataclasses.replace(found, scale=scale)
    if own.scheme != INT8:
        return grid
    grid = dataclasses.replace(grid, added=site.added)
    if site.added != NEIGHBOURS:
        return grid
    return with_unsaturated_scales(grid, weight, site.channel_axis, own.scales == PER_TENSOR)
