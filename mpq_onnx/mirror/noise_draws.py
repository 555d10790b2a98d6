"""The ways of ops.draws in torch: the same numbers of rows, of the same lengths, drawn by one generator."""

from collections.abc import Callable

import torch
from torch import Tensor

from mpq_onnx.ops.draws.bank import BANK, LONGEST_ROW
from mpq_onnx.registries import BANK as BANK_DRAWS
from mpq_onnx.registries import EXACT

Draw = Callable[[Tensor, torch.Generator], Tensor]
"""(like, generator) -> N(0, 1) in the shape and on the device of `like`, its own memory."""


def exact(like: Tensor, generator: torch.Generator) -> Tensor:
    """A normal of its own for every element."""
    return torch.randn(like.shape, generator=generator, device=like.device)


def bank(like: Tensor, generator: torch.Generator) -> Tensor:
    """Random rows of a bank and of its negation (see ops.draws.bank)."""
    count = like.numel()
    if count <= BANK:
        return exact(like, generator)
    length = next(each for each in range(LONGEST_ROW, 0, -1) if count % each == 0)
    held, rows = BANK // length, count // length
    normals = torch.randn((held, length), generator=generator, device=like.device)
    index = torch.randint(2 * held, (rows,), generator=generator, device=like.device)
    return torch.cat([normals, -normals]).index_select(0, index).reshape(like.shape)


DRAWS: dict[str, Draw] = {BANK_DRAWS: bank, EXACT: exact}
"""By the names in registries.NOISE_DRAWS."""
