"""Second moments that are held to what is known of them: they are means over few samples, or of one reader of a weight alone.

Without it, rounding puts its errors where these samples happen to see none: more taps than samples leave whole directions free,
a channel that was never active leaves its taps free, and another reader of the weight sees what this one does not.
"""

import torch
from torch import Tensor

from mpq_onnx.rounding.layer import Moments

LEAST_SHRINKAGE = 0.01
"""With less, float32 does not invert the moments of some layers."""


def shrunk(moments: Moments, samples: int) -> Moments:
    """The moments, drawn towards those of white input by as much as so few samples are unsure (OAS, arXiv 0907.4698)."""
    moment = moments.quantized
    taps = moment.shape[-1]
    size = moment.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None]
    # Of a trace of `taps`, as squares of very large and very small moments are no float32 numbers.
    square = (moment / size.clamp(min=torch.finfo(size.dtype).tiny)).square().sum(dim=(1, 2))
    unsure = (1 - 2 / taps) * square + taps**2
    white = (samples + 1 - 2 / taps) * (square - taps)
    share = torch.where(unsure < white, unsure / white, 1).clamp(LEAST_SHRINKAGE, 1)[:, None, None]
    towards = share * size * torch.eye(taps).to(moment)
    return Moments((1 - share) * moment + towards, (1 - share) * moments.cross + towards)


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
