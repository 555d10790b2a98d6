# mypy: ignore-errors
# (onnxscript compiles the function's body and annotations; they are not Python to a type checker)
"""A stream of integers of mixed widths: packed with numpy, unpacked by an ONNX function of standard operators.

The integers of channel 0 come first, then those of channel 1, and so on, each in its channel's number of bits, low bit
first, without gaps. Two bytes of padding follow, so that three bytes can be read at every position.
"""

import numpy as np
import onnx_ir as ir
import onnxscript
from onnxscript import opset21 as op
from onnxscript.onnx_types import INT32, INT64, UINT8

DOMAIN = "mpq_onnx.storage"
BYTES_READ = 3
"""unpack_bits reads so many bytes from the one in which a value begins, also for the empty values of pruned channels."""
PACKED_OPSET = onnxscript.values.Opset(DOMAIN, 1)


def pack(rows: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """uint8 stream of `rows` [channels, n], each row in its own number of bits (0 to 16)."""
    bits = [
        (rows[channel][:, None] >> np.arange(width)).astype(np.uint8) & 1
        for channel, width in enumerate(widths)
    ]
    joined = np.concatenate([block.reshape(-1) for block in bits])
    stream = np.zeros(joined.size // 8 + BYTES_READ, np.uint8)
    packed = np.packbits(joined, bitorder="little")
    stream[: packed.size] = packed
    return stream


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


def add_unpack_function(model: ir.Model) -> None:
    """Make `unpack_bits` known to `model`."""
    function = ir.serde.deserialize_function(unpack_bits.to_function_proto())
    model.functions.setdefault(function.identifier(), function)
    model.opset_imports.setdefault(DOMAIN, PACKED_OPSET.version)


def unpack_node(stream: ir.Value, widths: ir.Value, shape: ir.Value, name: str) -> ir.Node:
    """The node that reads `stream` back."""
    return ir.node(unpack_bits.name, [stream, widths, shape], domain=DOMAIN, name=name)
