"""The second moments of what a layer reads, over the examples of all ranks."""

from collections.abc import Iterator

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


def measured_moments(
    form: MatrixForm, streams: Streams, weight: Tensor, central: bool, data: RoundingData
) -> Moments:
    """At as many output positions, spread at random, as the estimate needs; held to what the examples are sure of.

    Args:
        central: of the deviations from the means.
    """
    groups, _, taps = form.weight_matrix(weight).shape
    wanted = max(-(-min(SAMPLES_PER_TAP * taps, MOST_SAMPLES) // data.examples), FEWEST_POSITIONS)

    def patches() -> Iterator[tuple[Tensor, Tensor]]:
        """What the quantized network delivers and what the float network does, [n, g, k, l] of every batch."""
        generator = torch.Generator()
        for place, exact, quantized in zip(data.places, streams.exact, streams.quantized, strict=True):
            generator.manual_seed(place)
            x, t = form.sampled_patches((quantized[0], exact[0]), weight, wanted, generator)
            yield x, t

    # Sums of float32 in float64 are the same in any order, but for a digit that float32 does not have.
    def zeros(*shape: int) -> Tensor:
        return weight.new_zeros(groups, *shape, dtype=torch.float64)

    means, counts = (zeros(taps), zeros(taps)), [0, 0]
    for x, t in patches():
        for mean, each in zip(means, (x, t), strict=True):
            mean += each.sum(dim=(0, 3))
        counts[0] += x.shape[0] * x.shape[3]
        counts[1] += x.shape[0]
    samples, examples = (sum(data.ranks.gather(count)) for count in counts)
    centre_x, centre_t = (
        (data.ranks.sum(mean) / samples if central else zeros(taps)).to(weight)[None, :, :, None]
        for mean in means
    )
    quantized, cross, squares = zeros(taps, taps), zeros(taps, taps), zeros()
    for x, t in patches():
        x, t = x - centre_x, t - centre_t
        quantized += second_moment(x, x)
        cross += second_moment(x, t)
        squares += squares_of_moments(x).sum(0)
    quantized, cross = (data.ranks.sum(total).div_(samples) for total in (quantized, cross))
    between = data.ranks.sum(squares) - examples * quantized.square().sum(dim=(1, 2))
    return shrunk(Moments(quantized.to(weight), cross.to(weight)), Seen(samples, examples, between))


def squares_of_moments(patches: Tensor) -> Tensor:
    """The squared norm of every example's own second moment, [n, g], of patches [n, g, k, l]."""
    taps, positions = patches.shape[2:]
    # The products of taps, and those of positions, have the same norm.
    products = patches @ patches.transpose(2, 3) if taps < positions else patches.transpose(2, 3) @ patches
    return (products.double() / positions).square().sum(dim=(2, 3))
