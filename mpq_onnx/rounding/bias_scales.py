"""Scales that int32 biases need, of weights and of inputs that are always zero (see biases). No torch here."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.arithmetic.biases import raised_scale, scale_of_empty_channels, scale_of_empty_input
from mpq_onnx.arithmetic.quantized_network import ActivationQuantizer, DynamicQuantizer
from mpq_onnx.arithmetic.weights import QuantizedWeight, WeightGrid

Activations = dict[str, ActivationQuantizer | DynamicQuantizer]


@dataclass(frozen=True)
class BiasedProduct:
    """A node whose bias becomes int32: by us, or by onnxruntime's optimizer when it loads the file."""

    node: str
    weight: str
    source: str
    """The activation that the weight is multiplied with; it has a static quantizer."""
    bias: np.ndarray
    """float32 [output channels]."""
    channels: int
    """Of the weight's scales: each serves one output channel, or one in every group of a ConvTranspose."""
    along_channels: bool = True
    """The weight's scales run along this node's output channels."""
    readers: int = 1
    """Nodes that read the weight."""
    added: str | None = None
    """The tensor of the bias, where an Add of its own gives it."""

    @property
    def largest_bias(self) -> np.ndarray:
        """Largest magnitude by scale of the weight, [channels]; of all where the scales run along another axis."""
        magnitude = np.abs(self.bias)
        if not self.along_channels:
            return np.full(self.channels, magnitude.max(initial=0))
        return magnitude.reshape(-1, self.channels).max(axis=0)

    def weight_scale(self, scale: np.ndarray) -> np.ndarray | None:
        """The weight's scale for every output channel; None where the scales run along another axis and differ."""
        if self.along_channels:
            return np.tile(scale, len(self.bias) // self.channels)
        return np.broadcast_to(scale[:1], (len(self.bias),)) if (scale == scale[0]).all() else None


def with_scales_of_empty_inputs(
    activations: Activations, products: Sequence[BiasedProduct], grids: Mapping[str, WeightGrid]
) -> Activations:
    """`activations` where those that are always zero have a scale that suits the biases of who reads them."""
    changed = dict(activations)
    for tensor, quantizer in activations.items():
        if isinstance(quantizer, ActivationQuantizer) and quantizer.is_empty:
            uses = [(each.largest_bias, grids[each.weight]) for each in products if each.source == tensor]
            changed[tensor] = dataclasses.replace(quantizer, scale=scale_of_empty_input(uses))
    return changed


def with_steps(activations: Activations, steps: Mapping[str, np.float32]) -> Activations:
    """`activations` with learned steps, by tensor."""
    changed = dict(activations)
    for tensor, step in steps.items():
        quantizer = activations[tensor]
        assert isinstance(quantizer, ActivationQuantizer)
        changed[tensor] = dataclasses.replace(quantizer, scale=step)
    return changed


def with_raised_scales(
    grids: Mapping[str, WeightGrid],
    products: Sequence[BiasedProduct],
    activations: Activations,
    one_scale: Collection[str],
) -> dict[str, WeightGrid]:
    """`grids` with the scale of every channel raised whose bias int32 would not hold.

    A weight with several readers is raised only as far as all of them need it: one whose input is nearly zero must not take
    the weight from another. One scale for a whole tensor stays as it is. Beyond that a bias has a scale of its own.

    Args:
        one_scale: weights whose channels have one scale together.
    """
    changed = dict(grids)
    for tensor, grid in grids.items():
        uses = [each for each in products if each.weight == tensor and each.along_channels]
        if not uses or len(uses) < uses[0].readers or (tensor in one_scale and len(grid.scale) > 1):
            continue
        scales = [raised_scale(grid, each.largest_bias, _scale(activations, each)) for each in uses]
        scale = np.where(grid.is_empty, grid.scale, np.min(scales, axis=0))
        changed[tensor] = dataclasses.replace(grid, scale=scale)
    return changed


def with_scales_of_empty_channels(
    weights: Mapping[str, QuantizedWeight],
    products: Sequence[BiasedProduct],
    activations: Activations,
    one_scale: Collection[str],
) -> dict[str, QuantizedWeight]:
    """Rounded weights whose channels of one level, zero, have the scale that their final biases need.

    Args:
        one_scale: weights whose channels have one scale together.
    """
    changed = dict(weights)
    for tensor, weight in weights.items():
        uses = [(each.largest_bias, _scale(activations, each)) for each in products if each.weight == tensor]
        empty = weight.grid.is_empty
        if not uses or not empty.any():
            continue
        scale = scale_of_empty_channels(weight.grid, uses)
        if tensor in one_scale:
            scale = np.where(empty, scale[empty].max(), scale).astype(np.float32)
        changed[tensor] = dataclasses.replace(weight, grid=dataclasses.replace(weight.grid, scale=scale))
    return changed


def _scale(activations: Activations, product: BiasedProduct) -> np.float32:
    quantizer = activations[product.source]
    assert isinstance(quantizer, ActivationQuantizer)
    return quantizer.scale
