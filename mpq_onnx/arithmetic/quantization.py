"""Affine quantization arithmetic, once, for numpy arrays and torch tensors alike.

A b-bit quantizer has exactly L = round(2**b) levels, the integers 0 .. L-1. A real value x is stored as
q = clip(round(x / scale) + zero_point, 0, L-1), rounding halves to even as ONNX QuantizeLinear does, and read back as
(q - zero_point) * scale. Zero is always one of the levels. One level (b = 0) prunes: everything is zero. A scheme says where
zero stands among the levels; a new one is one line in SCHEMES.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any  # numpy.ndarray or torch.Tensor; only methods that both have are called

MAXIMUM_BITS = 16
"""Widest quantizer: the widest integer that onnxruntime quantizes to is 16 bits."""


SMALLEST_SCALE = 2.0**-63
"""Of any quantizer. The product of two is a normal float32 still: onnxruntime takes smaller ones for zero."""
LARGEST_SCALE = 2.0**100
"""Of a quantizer whose scale is raised for a bias: some hundred levels of it are finite still."""
LARGEST_END = 2.0**126
"""Of a range: with both ends there, and a step more, float32 does not overflow."""


def levels_of(bits: float) -> int:
    """Number of levels of a quantizer of `bits` bits, which may be fractional: round(2**bits)."""
    return round(2.0**bits)


def counted_bits(bits: float) -> float:
    """What a width counts in means, budgets and sums of bits: log2 of its levels, so that 2.5 bits, 6 levels, count 2.585.

    levels_of gives the same levels back.
    """
    return math.log2(levels_of(bits))


def asymmetric_grid(low: Array, high: Array, levels: Array | int) -> tuple[Array, Array]:
    """Scale and zero point of the quantizer with `levels` levels whose range covers [low, high].

    The range is first widened to hold zero. Arguments broadcast. No scale is below SMALLEST_SCALE, that of a range of zero
    width; one level gets the scale of the whole range, where zero is the only value.

    Returns:
        (scale, zero_point), zero_point integral in 0 .. levels-1, both of the dtype of `low`.
    """
    low = low.clip(min=-LARGEST_END, max=0)
    high = high.clip(min=0, max=LARGEST_END)
    steps = levels - 1
    steps = steps + (steps == 0)  # one level: keep the division defined
    scale = ((high - low) / steps).clip(min=SMALLEST_SCALE)
    zero_point = (-low / scale).round().clip(max=levels - 1)  # one level: zero is all there is
    return scale, zero_point


def symmetric_grid(low: Array, high: Array, levels: Array | int) -> tuple[Array, Array]:
    """Scale and zero point of the quantizer whose zero stands in the middle: levels // 2 steps below, the rest above.

    Signed values of b bits are -L/2 .. L/2-1. The scale is the least that covers [low, high]; shapes as in asymmetric_grid.
    """
    return _grid_around_zero(low, high, levels, levels // 2)


def unsigned_symmetric_grid(low: Array, high: Array, levels: Array | int) -> tuple[Array, Array]:
    """symmetric_grid where some value is negative, else zero at the lowest level: integer hardware needs no zero point.

    Behind a ReLU no level is lost. Shapes as in asymmetric_grid.
    """
    return _grid_around_zero(low, high, levels, levels // 2 * (low < 0))


INT8_LEVELS = 256
"""Of an int8 weight."""


def int8_grid(low: Array, high: Array, levels: Array | int) -> tuple[Array, Array]:
    """The grid whose levels, counted from zero, fit into int8: a zero point of 0 serves every channel there.

    Up to 128 levels zero may stand anywhere among them; above, int8 holds them with zero in the middle alone. More than 256
    levels are no int8, and zero may stand anywhere again. Shapes as in asymmetric_grid.
    """
    half = INT8_LEVELS // 2
    anywhere = (levels <= half) | (levels > INT8_LEVELS)
    centred = (levels > half) & (levels <= INT8_LEVELS)
    asymmetric, symmetric = asymmetric_grid(low, high, levels), symmetric_grid(low, high, levels)
    scale, zero_point = (
        one * anywhere + other * centred for one, other in zip(asymmetric, symmetric, strict=True)
    )
    return scale, zero_point


def _grid_around_zero(
    low: Array, high: Array, levels: Array | int, below: Array | int
) -> tuple[Array, Array]:
    """The least scale that covers [low, high] with `below` steps under zero, and that zero point."""
    above = levels - 1 - below
    low = low.clip(min=-LARGEST_END, max=0)
    high = high.clip(min=0, max=LARGEST_END)
    scale = (-low / (below + (below == 0))).clip(min=high / (above + (above == 0))).clip(min=SMALLEST_SCALE)
    return scale, below + 0 * scale


def odd_levels(levels: Array | int) -> Array | int:
    """The narrow range -(L/2-1) .. L/2-1 of a signed quantizer leaves one of an even number of levels unused."""
    return levels - 1 + levels % 2


def all_levels(levels: Array | int) -> Array | int:
    """Every level is used."""
    return levels


@dataclass(frozen=True)
class Scheme:
    """Where zero stands among the levels."""

    grid: Callable[[Array, Array, Array | int], tuple[Array, Array]]
    """(low, high, levels) -> (scale, zero point)."""
    usable: Callable[[Array | int], Array | int]
    """How many of a width's levels are used."""

    def fit(self, low: Array, high: Array, levels: Array | int) -> tuple[Array, Array, Array | int]:
        """(scale, zero point, used levels) of the quantizer of a width with `levels` levels that covers [low, high].

        A range of zero width needs one level: zero.
        """
        used = self.usable(levels)
        scale, zero_point = self.grid(low, high, used)
        empty = is_empty(low, high)
        return scale, zero_point * ~empty, used - (used - 1) * empty


def is_empty(low: Array, high: Array) -> Array:
    """True where the range [low, high], widened to hold zero, has zero width."""
    return (low >= 0) & (high <= 0)


ASYMMETRIC = "asymmetric"
SCHEMES: dict[str, Scheme] = {
    ASYMMETRIC: Scheme(asymmetric_grid, all_levels),
    "symmetric": Scheme(symmetric_grid, all_levels),
    "symmetric-narrow": Scheme(symmetric_grid, odd_levels),
    "symmetric-unsigned": Scheme(unsigned_symmetric_grid, all_levels),
}
INT8 = "int8"
WEIGHT_SCHEMES: dict[str, Scheme] = {INT8: Scheme(int8_grid, all_levels), **SCHEMES}
"""Of weights: INT8 is what integer kernels run fastest on (see arithmetic.saturation)."""


def steps_to_level(x: Array, scale: Array, zero_point: Array, levels: Array | int) -> Array:
    """Whole steps from zero to the level that stands for `x` (in its dtype); all arguments broadcast."""
    # Two bounds at once, one of them an array, take numpy and torch three times as long.
    return (x / scale).round().clip(min=-zero_point).clip(max=levels - 1 - zero_point)


def quantize(x: Array, scale: Array, zero_point: Array, levels: Array | int) -> Array:
    """Integers 0 .. levels-1 (in the dtype of `x`) that stand for `x`; all arguments broadcast."""
    return steps_to_level(x, scale, zero_point, levels) + zero_point


def dequantize(q: Array, scale: Array, zero_point: Array) -> Array:
    """Real values of the integers `q`."""
    return (q - zero_point) * scale


def fake_quantize(x: Array, scale: Array, zero_point: Array, levels: Array | int) -> Array:
    """`x` after one trip through the quantizer, in real values."""
    return steps_to_level(x, scale, zero_point, levels) * scale


def bias_scale(input_scale: Array, weight_scale: Array) -> Array:
    """Scale of an int32 bias: the scale of the products that it is added to."""
    return input_scale * weight_scale


def stored_bits(levels: int) -> int:
    """Whole bits that tell `levels` levels apart: ceil(log2(levels)), 0 for a pruned tensor."""
    return (levels - 1).bit_length()


def width_of(levels: int) -> float:
    """Bits of a quantizer of so many levels: log2, or the whole number where just one pattern of the bits is left out."""
    whole = stored_bits(levels)
    return float(whole) if levels in (2**whole, 2**whole - 1) else math.log2(levels)
