"""What rounding makes of a network's weights and biases, whoever rounds. No torch here."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.weights import QuantizedWeight, channel_rows

Array = Any  # numpy.ndarray or torch.Tensor; only methods that both have are called
CORRECTED_OPS = frozenset({"Conv", "ConvTranspose", "Gemm"})
"""Ops with a bias input of their own."""


@dataclass(frozen=True)
class RoundingResult:
    """Quantized weights by tensor, and the biases that make up for their mean error by node."""

    weights: dict[str, QuantizedWeight]
    biases: dict[str, np.ndarray]
    """By node."""
    constants: dict[str, np.ndarray]
    """Of the Add behind a product that has no bias of its own, by tensor."""
    steps: dict[str, np.float32] = field(default_factory=dict)
    """Learned steps of activation quantizers, by tensor."""

    def copy(self) -> "RoundingResult":
        """The same numbers in dictionaries of their own."""
        return RoundingResult(dict(self.weights), dict(self.biases), dict(self.constants), dict(self.steps))


def with_variance_of(rounded: QuantizedWeight, weight: np.ndarray) -> QuantizedWeight:
    """The same integers at scales that give every channel (or, with one scale, the tensor) the variance of `weight`."""
    exact, found = (channel_rows(each, rounded.channel_axis) for each in (weight, rounded.dequantized()))
    if rounded.grid.is_per_tensor:
        exact, found = exact.reshape(1, -1), found.reshape(1, -1)
    wanted, got = exact.std(axis=1), found.std(axis=1)
    ratio = np.divide(wanted, got, out=np.ones_like(wanted), where=(got > 0) & (wanted > 0))
    scale = (rounded.grid.scale * ratio).astype(np.float32)
    return dataclasses.replace(rounded, grid=dataclasses.replace(rounded.grid, scale=scale))


def channel_bias(bias: Array, channels: int) -> Array | None:
    """A bias that is the same for all rows, of any shape that broadcasts, as a vector [channels]; None for another."""
    if math.prod(bias.shape) == channels and (not len(bias.shape) or bias.shape[-1] == channels):
        return bias.reshape(channels)
    return bias.reshape(1)[[0] * channels] if math.prod(bias.shape) == 1 else None


def constant(model: ir.Model, tensor: str) -> np.ndarray:
    """The value of an initializer."""
    value = model.graph.initializers[tensor].const_value
    assert value is not None
    return value.numpy()
