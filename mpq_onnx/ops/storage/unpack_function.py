# mypy: ignore-errors
# (onnxscript compiles the function's body and annotations; they are not Python to a type checker)
"""The ONNX function that reads a bit stream. onnxscript takes a second to load: who only asks for its name does without."""

import onnxscript
from onnxscript import opset21 as op
from onnxscript.onnx_types import INT32, INT64, UINT8

from mpq_onnx.ops.storage.bit_stream import DOMAIN, VERSION

PACKED_OPSET = onnxscript.values.Opset(DOMAIN, VERSION)


@onnxscript.script(PACKED_OPSET, default_opset=op)
def unpack_bits(stream: UINT8["bytes"], widths: UINT8["channels"], shape: INT64["rank"]) -> INT32["..."]:  # noqa: F821
    """int32 of `shape`, whose first axis runs over channels."""
    zero = op.Constant(value_ints=[0])
    one = op.Constant(value_ints=[1])
    eight = op.Constant(value_int=8)
    bits = op.Cast(widths, to=INT64.dtype)
    per_channel = op.ReduceProd(op.Slice(shape, one, op.Constant(value_ints=[2**31])), keepdims=0)
    starts = op.CumSum(bits * per_channel, op.Constant(value_int=0), exclusive=1)
    index = op.Range(op.Constant(value_int=0), per_channel, op.Constant(value_int=1))
    column = op.Unsqueeze(bits, one)
    position = op.Unsqueeze(starts, one) + op.Unsqueeze(index, zero) * column
    byte = op.Div(position, eight)
    bytes_ = op.Cast(stream, to=onnxscript.UINT32.dtype)
    low = op.Gather(bytes_, byte)
    middle = op.Gather(bytes_, byte + one)
    high = op.Gather(bytes_, byte + op.Constant(value_ints=[2]))
    word = op.BitwiseOr(
        op.BitwiseOr(low, op.BitShift(middle, op.Cast(eight, to=onnxscript.UINT32.dtype), direction="LEFT")),
        op.BitShift(high, op.Cast(op.Constant(value_int=16), to=onnxscript.UINT32.dtype), direction="LEFT"),
    )
    shift = op.Cast(op.Mod(position, eight), to=onnxscript.UINT32.dtype)
    unit = op.Cast(one, to=onnxscript.UINT32.dtype)
    shifted = op.Cast(op.BitShift(word, shift, direction="RIGHT"), to=INT32.dtype)
    mask = op.Cast(
        op.BitShift(unit, op.Cast(column, to=onnxscript.UINT32.dtype), direction="LEFT"), to=INT32.dtype
    ) - op.Cast(one, to=INT32.dtype)
    return op.Reshape(op.BitwiseAnd(shifted, mask), shape)
