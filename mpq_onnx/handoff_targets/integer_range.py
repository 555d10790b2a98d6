"""Which integers a quantizer of so many levels is written with: signed around zero where it can be, else from 0 up."""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.arithmetic.quantization import dequantize, stored_bits, width_of
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.quantized_tensors import quantized_tensor
from mpq_onnx.graph.quantizer_chains import ActivationChain, WeightChain


@dataclass(frozen=True)
class IntegerRange:
    """Integers lowest .. highest."""

    lowest: int
    highest: int

    @property
    def levels(self) -> int:
        return self.highest - self.lowest + 1

    @property
    def is_signed(self) -> bool:
        return self.lowest < 0

    @property
    def bits(self) -> int:
        """Whole bits that hold them."""
        return stored_bits(self.levels)

    @property
    def exact_bits(self) -> float:
        """See width_of."""
        return width_of(self.levels)

    @property
    def is_narrow(self) -> bool:
        """One pattern is left out: 2**bits - 1 levels."""
        return self.levels > 1 and self.levels == 2**self.bits - 1


def integer_range(levels: int, symmetric: bool) -> IntegerRange:
    """The range of `levels` levels whose zero stands in the middle (`symmetric`), or may stand anywhere.

    Two levels are never signed: tools read a signed bit as -1 and +1.
    """
    if symmetric and levels > 2:
        return IntegerRange(-(levels // 2), levels - 1 - levels // 2)
    return IntegerRange(0, levels - 1)


@dataclass(frozen=True)
class ExportedActivation:
    """The quantizer of an activation, in integers that start at 0 or lie around 0."""

    scale: np.ndarray
    zero_point: np.ndarray
    """int64."""
    integers: IntegerRange


def exported_activation(chain: ActivationChain) -> ExportedActivation:
    """`chain` with its integers moved: signed with zero point 0 where zero stands in the middle of the levels."""
    from_lowest = chain.zero_point - chain.ends[0]
    symmetric = chain.levels > 2 and bool((from_lowest == chain.levels // 2).all())
    integers = integer_range(chain.levels, symmetric)
    return ExportedActivation(chain.scale, from_lowest + integers.lowest, integers)


@dataclass(frozen=True)
class ExportedWeight:
    """A stored weight, in integers that start at 0 or lie around 0."""

    values: np.ndarray
    """int64, in the weight's own shape."""
    scale: np.ndarray
    """float32, one number or one per channel."""
    zero_point: np.ndarray
    """int64, the same shape."""
    axis: int
    integers: IntegerRange

    @property
    def channel_axis(self) -> int | None:
        """None for one scale."""
        return self.axis if self.scale.size > 1 else None

    @property
    def broadcast_shape(self) -> tuple[int, ...]:
        """The shape that lets scale and zero point broadcast over the weight."""
        if self.scale.size == 1:
            return ()
        return tuple(-1 if axis == self.axis % self.values.ndim else 1 for axis in range(self.values.ndim))

    def dequantized(self) -> np.ndarray:
        """float32 real values, as DequantizeLinear computes them."""
        shape = self.broadcast_shape
        distances = (self.values - self.zero_point.reshape(shape)).astype(np.float32)
        return dequantize(distances, self.scale.reshape(shape), np.float32(0))


def exported_weight(chain: WeightChain, stored: np.ndarray, levels: int) -> ExportedWeight:
    """The weight with `levels` levels a channel; signed with zero point 0 where its integers allow that.

    Args:
        stored: the integers of the file, whose zero point need not be that of the `levels` levels.

    Raises:
        ModelError: a channel has integers, zero among them, that so many levels do not hold.
    """
    axis = chain.axis % stored.ndim if stored.ndim else 0
    shape = tuple(-1 if each == axis else 1 for each in range(stored.ndim)) if chain.scale.size > 1 else ()
    distances = stored.astype(np.int64) - chain.zero_point.reshape(shape)
    others = tuple(each for each in range(stored.ndim) if each != axis) if chain.scale.size > 1 else None
    below, above = -distances.min(axis=others, initial=0), distances.max(axis=others, initial=0)
    if (below + above >= levels).any():
        raise ModelError(
            f"weight {quantized_tensor(chain.dequantize)}: {levels} levels do not hold its integers, which span"
            f" {int((below + above).max()) + 1}, zero among them: the file is not as its allocation says; make it again"
        )
    middle = integer_range(levels, symmetric=True)
    if levels > 2 and (-below >= middle.lowest).all() and (above <= middle.highest).all():
        zero_point = np.zeros_like(chain.zero_point)
        return ExportedWeight(distances, chain.scale, zero_point, axis, middle)
    zero_point = np.clip(levels // 2, below, levels - 1 - above).reshape(chain.scale.shape)
    values = distances + zero_point.reshape(shape)
    return ExportedWeight(values, chain.scale, zero_point, axis, integer_range(levels, symmetric=False))
