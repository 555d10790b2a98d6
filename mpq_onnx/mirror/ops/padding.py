"""Window arithmetic that convolutions and pools share: ONNX pads and auto_pad, begin and end of each axis apart."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

AxisPads = list[tuple[int, int]]
"""(begin, end) for each spatial axis."""


def split_pads(pads: Sequence[int] | None, rank: int) -> AxisPads:
    """ONNX's flat [begin..., end...] as (begin, end) pairs; zeros when omitted."""
    if pads is None:
        return [(0, 0)] * rank
    return list(zip(pads[:rank], pads[rank:], strict=True))


def resolve_pads(
    auto_pad: str,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
) -> AxisPads:
    """The pads of a sliding window, from `pads` or by ONNX's auto_pad rule.

    Args:
        sizes: spatial size of the input.
        window: effective window, (kernel - 1) * dilation + 1.
    """
    if auto_pad == "VALID":
        return [(0, 0)] * len(sizes)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        result = []
        for size, extent, stride in zip(sizes, window, strides, strict=True):
            needed = max((-(-size // stride) - 1) * stride + extent - size, 0)
            small, large = needed // 2, needed - needed // 2
            result.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
        return result
    return split_pads(pads, len(sizes))


def pad_spatial(x: Tensor, pads: AxisPads, value: float = 0.0) -> Tensor:
    """Pad the trailing spatial axes of `x` with a constant."""
    if not any(begin or end for begin, end in pads):
        return x
    flat = [amount for begin, end in reversed(pads) for amount in (begin, end)]
    return F.pad(x, flat, value=value)


def symmetric(pads: AxisPads) -> bool:
    return all(begin == end for begin, end in pads)
