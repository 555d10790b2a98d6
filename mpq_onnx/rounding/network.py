"""From an allocation and a calibration to the numbers of the quantized network. No torch here: who rounds may need it."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.biases import bias_of_its_own_scale, quantize_bias
from mpq_onnx.arithmetic.quantized_network import (
    ActivationQuantizer,
    DynamicQuantizer,
    QuantizedNetwork,
)
from mpq_onnx.arithmetic.weights import TABLE_RULES, WeightGrid, WeightRules
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.documents.node_precision import NodePrecision
from mpq_onnx.graph.placement import Sites, WeightUse
from mpq_onnx.ranks import ALONE, Ranks
from mpq_onnx.registries import DYNAMIC, INT32_BIAS, PER_TENSOR
from mpq_onnx.rounding.bias_scales import (
    Activations,
    BiasedProduct,
    with_raised_scales,
    with_scales_of_empty_channels,
    with_scales_of_empty_inputs,
    with_steps,
)
from mpq_onnx.rounding.grids import site_grid
from mpq_onnx.rounding.result import CORRECTED_OPS, RoundingResult, channel_bias, constant

Rounder = Callable[[dict[str, WeightGrid], Activations], RoundingResult]
"""(the grid of every weight, the quantizer of every activation) -> rounded weights and corrected biases."""


def quantize_network(
    model: ir.Model,
    sites: Sites,
    allocation: Allocation,
    calibration: Calibration,
    rounder: Rounder,
    ranks: Ranks = ALONE,
) -> QuantizedNetwork:
    """Fix every activation's quantizer and every weight's grid, round the weights, quantize the biases.

    Args:
        model: the float model.
        rounder: rounds as the allocation's settings say.
        ranks: search for the grids of some weights each.
    """
    settings = allocation.settings
    activations = {
        node.activation: calibration.activation_quantizer(
            node.activation,
            node.activation_bits,
            settings.activation_ranges == DYNAMIC,
            node.activation_range,
        )
        for node in allocation.nodes
        if node.activation is not None and node.activation_bits is not None
    }
    grids = _grids(model, sites, allocation, ranks)
    products = _biased_products(model, sites, allocation, activations)
    activations = with_scales_of_empty_inputs(activations, products, grids)
    one_scale = {
        str(node.weight)
        for node in allocation.nodes
        if (node.weight_scales or settings.weight_scales) == PER_TENSOR
    }
    grids = with_raised_scales(grids, products, activations, one_scale)
    rounded = rounder(grids, activations)
    activations = with_steps(activations, rounded.steps)
    products = _biased_products(model, sites, allocation, activations, rounded)
    weights = with_scales_of_empty_channels(rounded.weights, products, activations, one_scale)
    readers = {tensor: nodes for tensor, nodes in sites.readers.items() if tensor in activations}
    network = QuantizedNetwork(activations, readers, weights, constants=rounded.constants)
    for each in products:
        source = activations[each.source]
        assert isinstance(source, ActivationQuantizer)
        grid = weights[each.weight].grid
        scale = each.weight_scale(grid.scale)
        bias = None if scale is None else quantize_bias(each.bias, source.scale, scale)
        if bias is None and each.added is not None:
            network.stored_constants[each.added] = bias_of_its_own_scale(each.bias)
        elif bias is None:
            network.biases[each.node] = bias_of_its_own_scale(each.bias)
        elif each.added is None and settings.bias == INT32_BIAS:
            network.biases[each.node] = bias
    network.float_biases.update(
        {node: bias for node, bias in rounded.biases.items() if node not in network.biases}
    )
    return network


def _grids(model: ir.Model, sites: Sites, allocation: Allocation, ranks: Ranks) -> dict[str, WeightGrid]:
    """The grid of every weight that the allocation gives a width."""
    settings = allocation.settings
    rules = WeightRules(settings.weight_observer, settings.weight_scheme, settings.weight_scales)
    by_tensor = {site.tensor: site for site in sites.weights}
    nodes = [node for node in allocation.nodes if node.owns_weight and node.weight_bits is not None]

    def search(node: NodePrecision) -> WeightGrid:
        site = by_tensor[str(node.weight)]
        bits = np.broadcast_to(np.asarray(node.weight_bits, np.float32), (site.channels,))
        common = TABLE_RULES if site.is_table else rules
        own = common.with_own(node.weight_scheme, node.weight_scales)
        return site_grid(site, constant(model, site.tensor), bits, own, node.weight_range)

    found = ranks.in_order(map(search, ranks.own(nodes)))
    return {str(node.weight): grid for node, grid in zip(nodes, found, strict=True)}


def _biased_products(
    model: ir.Model,
    sites: Sites,
    allocation: Allocation,
    activations: Mapping[str, ActivationQuantizer | DynamicQuantizer],
    rounded: RoundingResult | None = None,
) -> list[BiasedProduct]:
    """The nodes whose bias becomes int32: weight and input have static quantizers.

    onnxruntime's optimizer makes int32 of those that we leave float, and of what a MatMul's own Add gives, and saturates.

    Args:
        rounded: has biases and constants that take the place of the model's.
    """
    rounded = rounded or RoundingResult({}, {}, {})
    quantized = {node.weight for node in allocation.nodes if node.weight_bits is not None}
    found = []
    for site in sites.weights:
        along = [use for use in site.uses if use.channel_axis == site.channel_axis]
        readers = len({use.node for use in model.graph.initializers[site.tensor].uses()})
        for use in site.uses if site.tensor in quantized else ():
            bias = _bias(model, use, rounded)
            source = use.source or ""
            # onnxruntime would scale an integer bias with the products, by alpha.
            if (
                bias is None
                or use.alpha != 1.0
                or not isinstance(activations.get(source), ActivationQuantizer)
            ):
                continue
            found.append(
                BiasedProduct(
                    use.node, site.tensor, source, bias, site.channels, use in along, readers, use.added
                )
            )
    return found


def _bias(model: ir.Model, use: WeightUse, rounded: RoundingResult) -> np.ndarray | None:
    """The float bias as a vector over the output channels; None where there is none, or one of another form."""
    if use.added is not None:
        return rounded.constants.get(use.added, constant(model, use.added)).reshape(-1)
    if use.node in rounded.biases:
        return rounded.biases[use.node]
    if use.bias is None or use.op_type not in CORRECTED_OPS:
        return None
    return channel_bias(constant(model, use.bias), use.channels)
