"""What integer kernels add in 16 bits, and grids of weights with which nothing is lost there.

The fast kernels of x86 multiply bytes of an activation, 0 .. 255, by int8 weights and add the products of two neighbours before
they go on in 32 bits. Without VNNI or AMX that first sum has 16 bits and saturates, and nothing says so. Neighbours follow each
other along what is summed up: input channels, then taps of the kernel (of a Conv), or rows of the matrix (of a MatMul or Gemm).
Two neighbours of one sign may come to LARGEST_SUM steps. A depthwise kernel adds each product in 32 bits.
"""

import dataclasses

import numpy as np

from mpq_onnx.arithmetic.weights import WeightGrid, channels_first

LARGEST_SUM = 128
"""Steps from zero of two neighbours together: 255 * 128 is the most that 16 bits hold."""
ROUNDED = 2
"""Steps that two neighbours may gain, whichever way each of them is rounded."""
SAFE_LEVELS = 64
"""Two weights of so many levels or fewer come to less, wherever zero stands."""
NEIGHBOURS, ALONE = "neighbours", "alone"
"""Which products are added in 16 bits: those of two neighbouring weights, or none."""


def neighbour_sums(weight: np.ndarray, channel_axis: int) -> np.ndarray:
    """The largest magnitude that two neighbours of one sign come to, float64 [channels].

    Kernels of different generations start their pairs at different weights, and go through channels or through taps first:
    all of them are looked at.
    """
    first = channels_first(weight, channel_axis)
    found = np.zeros(len(first))
    orders = [first] if first.ndim < 3 else [first, np.moveaxis(first, 1, -1)]
    for each in orders:
        rows = each.reshape(len(first), -1)
        for sign in (1, -1):
            part = (sign * rows).clip(min=0).astype(np.float64)
            sums = part[:, 1:] + part[:, :-1] if part.shape[1] > 1 else part
            found = np.maximum(found, sums.max(axis=1, initial=0.0))
    return found


def with_unsaturated_scales(
    grid: WeightGrid, weight: np.ndarray, channel_axis: int, has_one_scale: bool
) -> WeightGrid:
    """`grid` with scales raised until no two neighbours of `weight` saturate, whichever way they are rounded.

    A channel has fewer of its levels in use then, about a half of a bit at 8 bits.
    """
    wide = grid.levels > SAFE_LEVELS
    if not wide.any():
        return grid
    least = neighbour_sums(weight, channel_axis) / (LARGEST_SUM - ROUNDED)
    if has_one_scale:
        least = np.full_like(least, least.max())
    scale = np.where(wide, np.maximum(grid.scale, least), grid.scale).astype(np.float32)
    return dataclasses.replace(grid, scale=scale)


def saturates(distances: np.ndarray, channel_axis: int, added: str | None) -> bool:
    """Whether int8 weights may saturate.

    Args:
        distances: steps from zero, int32, in the weight's own shape.
        added: NEIGHBOURS or ALONE; None where it is not known which products meet.
    """
    if added == ALONE:
        return False
    if added == NEIGHBOURS:
        return bool((neighbour_sums(distances, channel_axis) > LARGEST_SUM).any())
    return int(np.abs(distances).max(initial=0)) > LARGEST_SUM // 2
