"""Convolutions of one to three spatial axes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mpq_onnx.mirror.ops.sliding_window import pad_spatial, sliding_window

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, group: int = 1, **attributes: Any
) -> Tensor:
    window = sliding_window(x.shape[2:], weight.shape[2:], attributes)
    pads = window.begin_pads
    if pads is None:
        x, pads = window.pad(x), [0] * len(window.kernel)
    return _CONV[x.dim() - 2](x, weight, bias, window.strides, pads, window.dilations, group)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    group: int = 1,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    **attributes: Any,
) -> Tensor:
    """The full transposed convolution, then the pads cropped off: torch takes symmetric pads only."""
    if not weight.shape[1]:  # torch wants one output channel at least
        one = weight.new_zeros(weight.shape[0], 1, *weight.shape[2:])
        return conv_transpose(
            x, one, auto_pad=auto_pad, group=group, output_padding=output_padding, output_shape=output_shape, **attributes
        )[:, :0]  # fmt: skip
    rank = x.dim() - 2
    window = sliding_window(x.shape[2:], weight.shape[2:], attributes)
    extra = list(output_padding or [0] * rank)
    full = _CONV_TRANSPOSE[rank](x, weight, bias, window.strides, 0, 0, group, window.dilations)
    axis_pads = window.pads
    # The full size without output_padding, axis by axis.
    sizes = list(full.shape[2:])
    if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = list(output_shape or [n * s for n, s in zip(x.shape[2:], window.strides, strict=True)])[
            -rank:
        ]
        axis_pads = []
        for size, add, want in zip(sizes, extra, wanted, strict=True):
            total = size + add - want
            half = total // 2
            upper = auto_pad == "SAME_UPPER"
            axis_pads.append((half, total - half) if upper else (total - half, half))
    for axis, (begin, end) in enumerate(axis_pads):
        length = sizes[axis] - begin - end + extra[axis]
        grow = max(begin + length - sizes[axis], 0)
        front = max(-begin, 0)
        if grow or front:
            full = _grow(full, axis + 2, front, grow, bias)
        full = full.narrow(axis + 2, max(begin, 0), length)
    return full


def _grow(x: Tensor, axis: int, front: int, back: int, bias: Tensor | None) -> Tensor:
    """Positions that no input reaches (output_padding) hold the bias alone."""
    pads = [(0, 0)] * (x.dim() - 2)
    pads[axis - 2] = (front, back)
    if bias is None:
        return pad_spatial(x, pads)
    shaped = bias.reshape(1, -1, *[1] * (x.dim() - 2))
    return pad_spatial(x - shaped, pads) + shaped


def deform_conv(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    group: int = 1,
    offset_group: int = 1,
    **attributes: Any,
) -> Tensor:
    """torchvision's, which finds both numbers of groups in the shapes; what lies outside is zero, as in a padded image."""
    from torchvision import ops  # late: it takes a second to load

    window = sliding_window(x.shape[2:], weight.shape[2:], attributes)
    strides, dilations = tuple(window.strides), tuple(window.dilations)
    return ops.deform_conv2d(  # type: ignore[no-any-return]
        window.pad(x), offset, weight, bias, strides, dilation=dilations, mask=mask
    )


OPS: dict[str, Callable[..., Any]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
}
