"""The second moments of what a layer reads, over the examples of all ranks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mpq_onnx.mirror.matrix_form import MatrixForm, second_moment
from mpq_onnx.mirror.stepwise import Streams
from mpq_onnx.rounding.layer import Moments
from mpq_onnx.rounding.rounding_data import RoundingData
from mpq_onnx.rounding.shrinkage import Seen, shrunk

SAMPLES_PER_TAP = 64
"""Output positions that a second moment is averaged over, for each tap of the receptive field."""
MOST_SAMPLES = 16384
"""Of them all, where that leaves FEWEST_POSITIONS: the second moments of k taps cost k^2 a sample."""
FEWEST_POSITIONS = 16
"""Positions taken of every example, at least."""


@dataclass
class _Sums:
    """Over the patches of this rank: x of the quantized network, t of the float one."""

    samples: int
    examples: int
    x: Tensor
    t: Tensor


def measured_moments(
    form: MatrixForm, streams: Streams, weight: Tensor, central: bool, data: RoundingData
) -> Moments:
    """At as many output positions, spread at random, as the estimate needs; held to what the examples are sure of.

    Args:
        central: of the deviations from the means.
    """
    groups, _, taps = form.weight_matrix(weight).shape
    wanted = max(-(-min(SAMPLES_PER_TAP * taps, MOST_SAMPLES) // data.examples), FEWEST_POSITIONS)
    ranks = data.ranks

    # Sums of float32 in float64 are the same in any order, but for a digit that float32 does not have.
    def zeros(*shape: int) -> Tensor:
        return weight.new_zeros(groups, *shape, dtype=torch.float64)

    sums = _Sums(0, 0, zeros(taps), zeros(taps))
    for x, t in _patches(form, streams, weight, wanted, data):
        sums.samples += x.shape[0] * x.shape[3]
        sums.examples += x.shape[0]
        sums.x += x.sum(dim=(0, 3))
        sums.t += t.sum(dim=(0, 3))
    samples, examples = (sum(ranks.gather(count)) for count in (sums.samples, sums.examples))
    means = (ranks.sum(each) / samples if central else zeros(taps) for each in (sums.x, sums.t))
    mean_x, mean_t = (each.to(weight)[None, :, :, None] for each in means)

    quantized, cross, squares = zeros(taps, taps), zeros(taps, taps), zeros()
    for x, t in _patches(form, streams, weight, wanted, data):
        x, t = x - mean_x, t - mean_t
        quantized += second_moment(x, x)
        cross += second_moment(x, t)
        squares += squares_of_moments(x).sum(0)
    quantized, cross = (ranks.sum(total).div_(samples) for total in (quantized, cross))
    between = ranks.sum(squares) - examples * quantized.square().sum(dim=(1, 2))
    return shrunk(Moments(quantized.to(weight), cross.to(weight)), Seen(samples, examples, between))


def _patches(
    form: MatrixForm, streams: Streams, weight: Tensor, wanted: int, data: RoundingData
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the quantized network delivers and what the float network does, [n, g, k, l] of every batch: each time the same."""
    generator = torch.Generator()
    for place, exact, quantized in zip(data.places, streams.exact, streams.quantized, strict=True):
        generator.manual_seed(place)
        x, t = form.sampled_patches((quantized[0], exact[0]), weight, wanted, generator)
        yield x, t


def squares_of_moments(patches: Tensor) -> Tensor:
    """The squared norm of every example's own second moment, [n, g], of patches [n, g, k, l]."""
    taps, positions = patches.shape[2:]
    # The products of taps, and those of positions, have the same norm.
    products = patches @ patches.transpose(2, 3) if taps < positions else patches.transpose(2, 3) @ patches
    return (products.double() / positions).square().sum(dim=(2, 3))
