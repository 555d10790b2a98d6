"""Second moments that are held to what is known of them: they are means over few examples, or of one reader of a weight alone.

Without it, rounding puts its errors where these examples happen to see none: more taps than samples leave whole directions
free, a channel that was never active leaves its taps free, and another reader of the weight sees what this one does not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mpq_onnx.rounding.layer import Moments

LEAST_SHRINKAGE = 0.01
"""With less, float32 does not invert the moments of some layers."""


@dataclass(frozen=True)
class Seen:
    """What second moments A are means over."""

    samples: int
    """Output positions of all examples together."""
    examples: int
    between: Tensor
    """[g], the sum over the examples of |A_i - A|^2, A_i the moment of one example alone."""


def shrunk(moments: Moments, seen: Seen) -> Moments:
    """The moments, drawn towards those of white input by as much as they are unsure.

    That is told by how far the examples' own moments lie apart (Ledoit and Wolf, J. Multivariate Analysis 88, 2004, with an
    example for an observation): positions of one image, and tokens of one text, resemble each other. It is at least what as
    many independent samples leave (OAS, arXiv 0907.4698), of which one example may give many.
    """
    moment = moments.quantized
    taps = moment.shape[-1]
    size = moment.diagonal(dim1=1, dim2=2).mean(-1).clamp(min=torch.finfo(moment.dtype).tiny)
    # Of a trace of `taps`, as squares of very large and very small moments are no float32 numbers.
    square = (moment / size[:, None, None]).square().sum(dim=(1, 2))
    from_white = square - taps
    unsure = torch.maximum(_of_samples(square, taps, seen.samples), _of_examples(seen) / size.double() ** 2)
    share = torch.where(unsure < from_white, unsure / from_white, 1).clamp(LEAST_SHRINKAGE, 1).to(moment)
    share, size = share[:, None, None], size[:, None, None]
    towards = share * size * torch.eye(taps).to(moment)
    return Moments((1 - share) * moment + towards, (1 - share) * moments.cross + towards)


def _of_samples(square: Tensor, taps: int, samples: int) -> Tensor:
    """Expected squared error [g] of a moment of independent samples, of trace `taps` and squared norm `square` [g]."""
    return ((1 - 2 / taps) * square + taps**2) / (samples + 1 - 2 / taps)


def _of_examples(seen: Seen) -> Tensor:
    """The same of a moment that is the mean of the examples' own; 0 where one alone tells nothing of it."""
    return seen.between.clamp(min=0) / (seen.examples * max(seen.examples - 1, 1))


def read_elsewhere(moments: Moments, weight: Tensor, readers: int) -> Moments:
    """The moments with those of `readers` more readers of the weight, of which nothing is known: of white input, each as loud.

    Args:
        weight: [g, o, k] of the layer.
    """
    smallest = torch.finfo(weight.dtype).tiny
    relative = weight / weight.abs().amax(dim=(1, 2), keepdim=True).clamp(min=smallest)
    heard = ((relative @ moments.quantized) * relative).sum(dim=(1, 2))
    white = (readers * heard / relative.square().sum(dim=(1, 2)).clamp(min=smallest))[:, None, None]
    more = white * torch.eye(weight.shape[-1]).to(weight)
    return Moments(moments.quantized + more, moments.cross + more)
