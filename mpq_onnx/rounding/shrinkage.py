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
    trace, square = _trace(moment), moment.square().sum(dim=(1, 2))
    unsure = (1 - 2 / taps) * square + trace**2
    white = (samples + 1 - 2 / taps) * (square - trace**2 / taps)
    share = torch.where(unsure < white, unsure / white, 1).clamp(LEAST_SHRINKAGE, 1)[:, None, None]
    towards = share * (trace / taps)[:, None, None] * torch.eye(taps).to(moment)
    return Moments((1 - share) * moment + towards, (1 - share) * moments.cross + towards)


def read_elsewhere(moments: Moments, weight: Tensor, readers: int) -> Moments:
    """The moments with those of `readers` more readers of the weight, of which nothing is known: of white input, each as loud.

    Args:
        weight: [g, o, k] of the layer.
    """
    heard = ((weight @ moments.quantized) * weight).sum(dim=(1, 2))
    energy = weight.square().sum(dim=(1, 2))
    white = (readers * heard / energy.clamp(min=torch.finfo(energy.dtype).tiny))[:, None, None]
    more = white * torch.eye(weight.shape[-1]).to(weight)
    return Moments(moments.quantized + more, moments.cross + more)


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=1, dim2=2).sum(-1)
