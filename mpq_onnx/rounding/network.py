"""From an allocation and a calibration to the numbers of the quantized network."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mpq_onnx.allocation import Allocation
from mpq_onnx.biases import quantize_bias
from mpq_onnx.calibration import Calibration
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import activation_quantizers, with_quantizers
from mpq_onnx.placement import Sites, WeightSite
from mpq_onnx.quantized_network import DYNAMIC, ActivationQuantizer, QuantizedNetwork, activation_quantizer
from mpq_onnx.rounding.adaptive import AdaptiveRounding
from mpq_onnx.rounding.layer import RoundingMethod
from mpq_onnx.rounding.layerwise import CORRECTED_OPS, Corrections, round_weights
from mpq_onnx.rounding.nearest import NearestRounding
from mpq_onnx.weights import WeightRules, channel_rows, weight_grid

ROUNDINGS: dict[str, RoundingMethod] = {
    "nearest": NearestRounding(),
    "adaptive": AdaptiveRounding(),
}

INT32_BIAS, FLOAT_BIAS = "int32", "float"
BIASES = (INT32_BIAS, FLOAT_BIAS)
EMBEDDING_RULES = WeightRules("minmax")
"""A row of an embedding table at 8 bits gains nothing from a search of its range, and there are many rows."""


def quantize_network(
    mirror: Mirror,
    sites: Sites,
    allocation: Allocation,
    calibration: Calibration,
    batches: Sequence[Sequence[Tensor]],
) -> QuantizedNetwork:
    """Round every weight as the allocation's settings say, fix every activation's quantizer, quantize the biases.

    Args:
        mirror: of the float model.
        batches: the model's inputs in order, for every batch of calibration data; may be empty for rounding to nearest
            without bias correction.
    """
    settings = allocation.settings
    activations = {
        node.activation: activation_quantizer(
            calibration,
            node.activation,
            node.activation_bits,
            settings.activation_ranges == DYNAMIC,
            node.activation_range,
        )
        for node in allocation.nodes
        if node.activation is not None and node.activation_bits is not None
    }
    rules = WeightRules(settings.weight_observer, settings.weight_scheme, settings.weight_scales)
    grids = {}
    for node in allocation.nodes:
        if node.weight is not None and node.weight_bits is not None:
            site = next(site for site in sites.weights if site.tensor == node.weight)
            rows = channel_rows(_array(mirror, site.tensor), site.channel_axis)
            bits = np.broadcast_to(np.asarray(node.weight_bits, np.float32), (site.channels,))
            found = weight_grid(rows, bits, EMBEDDING_RULES if site.macs == 0 else rules)
            grids[site.tensor] = dataclasses.replace(
                found, scale=(found.scale * node.weight_range).astype(np.float32)
            )
    rounded = round_weights(
        with_quantizers(mirror, activation_quantizers(activations), readers=sites.readers),
        sites.weights,
        grids,
        ROUNDINGS[settings.rounding],
        batches,
        Corrections(settings.bias_correction, settings.variance_correction),
    )
    readers = {tensor: nodes for tensor, nodes in sites.readers.items() if tensor in activations}
    network = QuantizedNetwork(activations, readers, rounded.weights)
    for site in sites.weights:
        bias = rounded.biases.get(site.tensor, _bias(mirror, site))
        if site.tensor not in grids or bias is None:
            continue
        source = activations.get(site.source or "")
        if settings.bias == INT32_BIAS and isinstance(source, ActivationQuantizer):
            scale = network.weights[site.tensor].grid.scale
            network.biases[site.tensor] = quantize_bias(bias, source.scale, scale)
        elif site.tensor in rounded.biases:
            network.float_biases[site.tensor] = bias
    return network


def _bias(mirror: Mirror, site: WeightSite) -> np.ndarray | None:
    """The float bias as a vector over the output channels; None where there is none, or one of another form."""
    if site.bias is None or site.op_type not in CORRECTED_OPS:
        return None
    bias = _array(mirror, site.bias)
    return bias if bias.shape == (site.channels,) else None


def _array(mirror: Mirror, tensor: str) -> np.ndarray:
    return mirror.parameter(tensor).detach().cpu().numpy()
