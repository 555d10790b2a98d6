"""A stream of integers of mixed widths: packed with numpy, unpacked by an ONNX function of standard operators.

The integers of channel 0 come first, then those of channel 1, and so on, each in its channel's number of bits, low bit
first, without gaps. Two bytes of padding follow, so that three bytes can be read at every position.
"""

import numpy as np
import onnx_ir as ir

DOMAIN = "mpq_onnx.storage"
BYTES_READ = 3
"""unpack_bits reads so many bytes from the one in which a value begins, also for the empty values of pruned channels."""
VERSION = 1
FUNCTION_NAME = "unpack_bits"


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


def add_unpack_function(model: ir.Model) -> None:
    """Make `unpack_bits` known to `model`."""
    from mpq_onnx.ops.storage.unpack_function import unpack_bits  # onnxscript is slow to load

    function = ir.serde.deserialize_function(unpack_bits.to_function_proto())
    model.functions.setdefault(function.identifier(), function)
    model.opset_imports.setdefault(DOMAIN, VERSION)


def unpack_node(stream: ir.Value, widths: ir.Value, shape: ir.Value, name: str) -> ir.Node:
    """The node that reads `stream` back."""
    return ir.node(FUNCTION_NAME, [stream, widths, shape], domain=DOMAIN, name=name)
