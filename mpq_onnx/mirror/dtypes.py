"""ONNX element types as torch dtypes."""

import onnx_ir as ir
import torch

TORCH_DTYPES: dict[ir.DataType, torch.dtype] = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.uint16,
    ir.DataType.UINT32: torch.uint32,
    ir.DataType.UINT64: torch.uint64,
    ir.DataType.BOOL: torch.bool,
}


BYTES = {
    ir.DataType.INT4: ir.DataType.INT8,
    ir.DataType.UINT4: ir.DataType.UINT8,
    ir.DataType.INT2: ir.DataType.INT8,
    ir.DataType.UINT2: ir.DataType.UINT8,
}
"""What holds integers that torch has no type for."""


def widened(initializer: ir.Value) -> ir.TensorProtocol:
    """The tensor of an initializer, as bytes where it has 2 or 4 bits and is read back through DequantizeLinear alone."""
    tensor = initializer.const_value
    assert tensor is not None
    wider = BYTES.get(tensor.dtype)
    if wider is None or any(use.node.op_type != "DequantizeLinear" for use in initializer.uses()):
        return tensor  # QuantizeLinear would take its limits from the wider type
    return ir.tensor(tensor.numpy().astype(wider.numpy()), dtype=wider)


def torch_dtype(onnx_type: int) -> torch.dtype:
    """The torch dtype of an ONNX element type number.

    Raises:
        NotImplementedError: torch has no such type (strings, 4-bit integers, ...).
    """
    dtype = TORCH_DTYPES.get(ir.DataType(onnx_type))
    if dtype is None:
        raise NotImplementedError(f"element type {ir.DataType(onnx_type).name} has no torch counterpart here")
    return dtype
