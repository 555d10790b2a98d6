"""The rectified sigmoid of AdaRound (arXiv 2004.10568, equation 23): shares between floor and ceiling that reach both ends."""

import torch
from torch import Tensor

STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1
"""The paper's gamma and zeta."""


def stretched(sigmoid: Tensor) -> Tensor:
    """A sigmoid beyond 0 and 1; clamped to them it is the share."""
    return sigmoid * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW


def logits_of(share: Tensor) -> Tensor:
    """Where shares between 0 and 1 come from."""
    found = (share - STRETCH_LOW) / (STRETCH_HIGH - STRETCH_LOW)
    return torch.log(found / (1 - found))
