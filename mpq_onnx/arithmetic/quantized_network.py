"""The numbers of a quantized network, ready to be written as ONNX or put into the mirror. No torch here."""

from dataclasses import dataclass, field

import numpy as np

from mpq_onnx.arithmetic.biases import QuantizedBias
from mpq_onnx.arithmetic.weights import QuantizedWeight


@dataclass(frozen=True)
class ActivationQuantizer:
    """The affine quantizer of one activation, per tensor."""

    scale: np.float32
    zero_point: np.float32
    """A whole number, 0 .. levels-1."""
    levels: int

    @property
    def is_empty(self) -> bool:
        """Nothing but zero comes out, whatever the scale."""
        return self.levels == 1


@dataclass(frozen=True)
class DynamicQuantizer:
    """The quantizer of one activation whose range is taken anew from every example that it sees."""

    scheme: str
    """A name in quantization.SCHEMES."""
    levels: int
    """Of the width; the scheme may leave one unused."""


@dataclass(frozen=True)
class QuantizedNetwork:
    """Everything that replaces float numbers; what is not named here stays float."""

    activations: dict[str, ActivationQuantizer | DynamicQuantizer] = field(default_factory=dict)
    """By activation tensor."""
    readers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The nodes that read a quantized activation, where some others read it in float."""
    weights: dict[str, QuantizedWeight] = field(default_factory=dict)
    """By weight tensor."""
    biases: dict[str, QuantizedBias] = field(default_factory=dict)
    """By name of the node that adds the bias."""
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    """Corrected float constants by tensor: of an Add that is the bias of a product in all but name."""
    stored_constants: dict[str, QuantizedBias] = field(default_factory=dict)
    """Those, or the model's own, that stand in the file as integers of their own scales: exactly, out of reach of
    onnxruntime's optimizer (see biases.bias_of_its_own_scale)."""
    float_biases: dict[str, np.ndarray] = field(default_factory=dict)
    """Corrected biases that stay float32 [channels], by node: its products have no scale of their own, or int32 does not hold
    them."""
