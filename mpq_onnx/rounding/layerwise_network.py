"""A rounder for rounding.network: layer by layer on the mirror, on data where there is any."""

import torch

from mpq_onnx.arithmetic.weights import WeightGrid
from mpq_onnx.documents.allocation import Settings
from mpq_onnx.graph.placement import Sites
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import activation_quantizers, with_quantizers
from mpq_onnx.registries import ROUNDINGS
from mpq_onnx.rounding.bias_scales import Activations
from mpq_onnx.rounding.layerwise import Corrections, round_weights
from mpq_onnx.rounding.result import RoundingResult
from mpq_onnx.rounding.rounding_data import RoundingData


def round_layerwise(
    mirror: Mirror,
    sites: Sites,
    settings: Settings,
    data: RoundingData,
    kept_as: torch.dtype,
    grids: dict[str, WeightGrid],
    activations: Activations,
) -> RoundingResult:
    """Round every weight that has a grid by the method of `settings`.

    Args:
        mirror: of the float model.
        data: may be empty for rounding to nearest without bias correction.
        kept_as: what values of all batches wait in for their next use, float32 or float16.
    """
    quantized = with_quantizers(mirror, activation_quantizers(activations), readers=sites.readers)
    method = ROUNDINGS[settings.rounding]
    corrections = Corrections(settings.bias_correction, settings.variance_correction)
    rounded = round_weights(quantized, sites.weights, grids, method, data, corrections, kept_as)
    if not method.refines:
        return rounded
    # Step after step on one batch: one rank does it.
    return data.ranks.first(lambda: method.refined(rounded, quantized, sites.weights, data.whole()))
