"""Window arithmetic that convolutions and pools share: kernel, strides, dilations, and pads with begin and end apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

AxisPads = list[tuple[int, int]]
"""(begin, end) for each spatial axis."""


@dataclass(frozen=True)
class SlidingWindow:
    """How a window moves over the spatial axes of an input of given size."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: AxisPads
    ceil_pads: AxisPads
    """What ceil_mode's last, partial windows need beyond `pads`."""

    @property
    def extents(self) -> list[int]:
        """Effective window, (kernel - 1) * dilation + 1."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    @property
    def begin_pads(self) -> list[int] | None:
        """Pads that are the same at both ends, as torch takes them; None where they are not."""
        even = all(begin == end for begin, end in (*self.pads, *self.ceil_pads))
        return [begin for begin, _ in self.pads] if even else None

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """`x` with all pads filled with `value`."""
        return pad_spatial(pad_spatial(x, self.pads, value), self.ceil_pads, value)


def sliding_window(
    sizes: Sequence[int], kernel: Sequence[int], attributes: Mapping[str, Any]
) -> SlidingWindow:
    """The window of a Conv or pool node.

    Args:
        sizes: spatial size of the input.
        attributes: the node's: strides, dilations, pads, auto_pad, ceil_mode, each with ONNX's default.
    """
    rank = len(kernel)
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    none = [(0, 0)] * rank
    window = SlidingWindow(list(kernel), strides, dilations, none, none)
    pads = _pads(sizes, window, attributes)
    ceil_pads = _ceil_pads(sizes, window, pads) if attributes.get("ceil_mode", 0) else none
    return SlidingWindow(list(kernel), strides, dilations, pads, ceil_pads)


def split_pads(pads: Sequence[int] | None, rank: int) -> AxisPads:
    """ONNX's flat [begin..., end...] as (begin, end) pairs; zeros when omitted."""
    if pads is None:
        return [(0, 0)] * rank
    return list(zip(pads[:rank], pads[rank:], strict=True))


def pad_spatial(x: Tensor, pads: AxisPads, value: float = 0.0) -> Tensor:
    """Pad the trailing spatial axes of `x` with a constant."""
    if not any(begin or end for begin, end in pads):
        return x
    flat = [amount for begin, end in reversed(pads) for amount in (begin, end)]
    return F.pad(x, flat, value=value)


def _pads(sizes: Sequence[int], window: SlidingWindow, attributes: Mapping[str, Any]) -> AxisPads:
    """From `pads`, or by ONNX's auto_pad rule."""
    auto_pad = attributes.get("auto_pad", "NOTSET")
    if auto_pad == "VALID":
        return [(0, 0)] * len(sizes)
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        return split_pads(attributes.get("pads"), len(sizes))
    result = []
    for size, extent, stride in zip(sizes, window.extents, window.strides, strict=True):
        needed = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = needed // 2, needed - needed // 2
        result.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return result


def _ceil_pads(sizes: Sequence[int], window: SlidingWindow, pads: AxisPads) -> AxisPads:
    """A window that would start beyond the input and its begin padding is dropped, as in ONNX and torch."""
    extra = []
    for size, extent, stride, (begin, end) in zip(sizes, window.extents, window.strides, pads, strict=True):
        padded = size + begin + end
        outputs = -(-(padded - extent) // stride) + 1
        if (outputs - 1) * stride >= size + begin:
            outputs -= 1
        extra.append((0, max((outputs - 1) * stride + extent - padded, 0)))
    return extra
