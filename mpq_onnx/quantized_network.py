"""The numbers of a quantized network, ready to be written as ONNX or put into the mirror. No torch here."""

from dataclasses import dataclass, field

import numpy as np

from mpq_onnx.biases import QuantizedBias
from mpq_onnx.weights import QuantizedWeight


@dataclass(frozen=True)
class ActivationQuantizer:
    """The affine quantizer of one activation, per tensor."""

    scale: np.float32
    zero_point: np.float32
    """A whole number, 0 .. levels-1."""
    levels: int


@dataclass(frozen=True)
class QuantizedNetwork:
    """Everything that replaces float numbers; what is not named here stays float."""

    activations: dict[str, ActivationQuantizer] = field(default_factory=dict)
    """By activation tensor."""
    weights: dict[str, QuantizedWeight] = field(default_factory=dict)
    """By weight tensor."""
    biases: dict[str, QuantizedBias] = field(default_factory=dict)
    """By weight tensor of the node that the bias belongs to."""
    float_biases: dict[str, np.ndarray] = field(default_factory=dict)
    """Corrected biases that stay float32 [channels] (their node's input is not quantized), by weight tensor."""
