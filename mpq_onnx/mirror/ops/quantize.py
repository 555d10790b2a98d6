"""QuantizeLinear and DequantizeLinear on 8-, 16- and 32-bit integers, per tensor, per axis and in blocks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mpq_onnx.arithmetic.quantization import dequantize
from mpq_onnx.mirror.dtypes import torch_dtype


def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    stated = torch_dtype(output_dtype) if output_dtype else torch.uint8
    dtype = stated if zero_point is None else zero_point.dtype
    if dtype.is_floating_point:
        raise NotImplementedError("QuantizeLinear to a float8 type")
    limits = torch.iinfo(dtype)
    shift = 0 if zero_point is None else _along(zero_point, x, axis, block_size).to(torch.int32)
    integers = torch.round(x / _along(scale, x, axis, block_size)) + shift
    return integers.clamp(limits.min, limits.max).to(torch.int32).to(dtype)


def dequantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    integers = x.to(torch.int32)
    shift = (
        torch.zeros_like(integers)
        if zero_point is None
        else _along(zero_point, x, axis, block_size).to(torch.int32)
    )
    # The difference is exact in integers, as in onnxruntime.
    return dequantize(integers, _along(scale, x, axis, block_size), shift)


def _along(parameter: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point shaped to broadcast over `x`."""
    if block_size:
        return parameter.repeat_interleave(block_size, dim=axis).narrow(axis, 0, x.shape[axis])
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return parameter.reshape(shape)


OPS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
}
