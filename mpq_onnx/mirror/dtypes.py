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


def torch_dtype(onnx_type: int) -> torch.dtype:
    """The torch dtype of an ONNX element type number.

    Raises:
        NotImplementedError: torch has no such type (strings, 4-bit integers, ...).
    """
    dtype = TORCH_DTYPES.get(ir.DataType(onnx_type))
    if dtype is None:
        raise NotImplementedError(f"element type {ir.DataType(onnx_type).name} has no torch counterpart here")
    return dtype
