"""Activation quantizers that leave values alone at random while a block learns (QDrop, arXiv 2203.05740), of learned step."""

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.arithmetic.quantization import fake_quantize
from mpq_onnx.mirror.quantized import HALF_STEP, FixedQuantizer


def random_bits(like: Tensor, generator: torch.Generator) -> Tensor:
    """A fair coin an element: bool, in the shape of `like`."""
    words = -(-like.numel() // 8)
    drawn = torch.empty(words, dtype=torch.int64, device=like.device).random_(generator=generator)
    return drawn.view(torch.uint8)[: like.numel()].bitwise_and_(1).view(torch.bool).reshape(like.shape)


class DroppedQuantizer(nn.Module):
    """A fixed quantizer whose step is learned by a factor, and that passes half of the values on in float."""

    def __init__(self, quantizer: FixedQuantizer, generator: torch.Generator) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.generator = generator
        self.log_factor = nn.Parameter(torch.zeros((), device=quantizer.scale.device))
        """Natural logarithm of the factor on the step."""

    @property
    def scale(self) -> Tensor:
        """The step, with what was learned."""
        return self.quantizer.scale * self.log_factor.detach().exp()

    def forward(self, x: Tensor) -> Tensor:
        dropped = random_bits(x, self.generator)
        quantizer = self.quantizer
        return DroppedSteps.apply(
            x, self.log_factor, quantizer.scale, quantizer.zero_point, quantizer.levels, dropped
        )  # type: ignore[no-any-return]

    def fixed(self) -> FixedQuantizer:
        """The quantizer with the learned step, for all values."""
        step, zero_point = (np.float32(each.item()) for each in (self.scale, self.quantizer.zero_point))
        found = FixedQuantizer(step, zero_point, self.quantizer.levels)
        return found.to(self.log_factor.device)


class DroppedSteps(torch.autograd.Function):
    """Fake-quantize all but the dropped values, straight-through; d y / d ln(scale) as in arXiv 1902.08153.

    Inside the range that is y - x, outside y, the range's end; dropped values are x whatever the scale.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        log_factor: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        levels: int,
        dropped: Tensor,
    ) -> Tensor:
        scale = scale * log_factor.exp()
        y = fake_quantize(x, scale, zero_point, levels)
        torch.where(dropped, x, y, out=y)
        ctx.save_for_backward(x, y, scale)
        return y

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, y, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        error = y - x
        outside = error.abs() > scale * HALF_STEP
        needs_value, needs_step, *_ = ctx.needs_input_grad  # type: ignore[attr-defined]
        factor = None
        if needs_step:
            factor = (gradient * torch.where(outside, y, error)).sum()
        value = gradient.masked_fill(outside, 0) if needs_value else None
        return value, factor, None, None, None, None
