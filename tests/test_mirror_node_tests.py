"""ONNX's own node tests judge the mirror's op table: every test of supported ops passes, or is listed here with the reason."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto
from onnx_node_tests import as_array, node_tests

from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.ops import OP_TABLE

NARROW_TYPES = {
    TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ,
    TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1,
    getattr(TensorProto, "INT2", -1), getattr(TensorProto, "UINT2", -1), getattr(TensorProto, "FLOAT8E8M0", -1),
}  # fmt: skip
"""Types that torch has no arithmetic for and that no float network holds."""
UNSIGNED_TYPES = {TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}

NAMED = {
    r"attention.*(fp16|bf16).*expanded|(fp16|bf16).*expanded": "half precision rounds in another order",
    r"^test_training_dropout": "training mode draws random numbers",
    r"^test_resize_downsample_scales_(linear|cubic)_align_corners$": "onnxruntime and torch take the rounded output length",
    r"^test_dft_inverse": "zeros that another order of rounding made larger than the tolerance",
    r"^test_maxunpool_export_with_output_shape": "onnxruntime and torch count indices in the shape that is given",
    r"^test_roialign_mode_max": "refused: samples are averaged alone",
    r"^test_batchnorm_.*training_mode": "training mode updates statistics; the mirror is for inference graphs",
}
"""Tests left out by name, with the reason."""


def reason_to_skip(name: str, model: onnx.ModelProto) -> str | None:
    types = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    types |= {tensor.data_type for tensor in model.graph.initializer}
    types |= {
        attribute.i
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name in ("to", "output_dtype", "dtype")
    }
    if any(not value.type.HasField("tensor_type") for value in (*model.graph.input, *model.graph.output)):
        return "sequences and optionals are no tensors"
    if types & NARROW_TYPES:
        return "float8 and types below 8 bits do not occur in float networks"
    if TensorProto.STRING in types:
        return "strings"
    if types & UNSIGNED_TYPES:
        return "torch lacks arithmetic on unsigned types above 8 bits"
    return next((reason for pattern, reason in NAMED.items() if re.search(pattern, name)), None)


def cases():
    for case in node_tests():
        nodes = case.model.graph.node
        if all(node.domain in ("", "ai.onnx") and node.op_type in (*OP_TABLE, "Constant") for node in nodes):
            reason = reason_to_skip(case.name, case.model)
            marks = [] if reason is None else [pytest.mark.skip(reason=reason)]
            yield pytest.param(case, id=case.name, marks=marks)


def to_torch(value: object) -> torch.Tensor:
    array = as_array(value)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


@pytest.mark.parametrize("case", cases())
def test_node(case) -> None:
    mirror = build_mirror(ir.from_proto(case.model), case.name)
    for inputs, expected in case.data_sets:
        with torch.no_grad():
            found = mirror.module.forward(*(to_torch(value) for value in inputs))
        for result, wanted in zip(found, (to_torch(value) for value in expected), strict=True):
            assert result.dtype == wanted.dtype
            assert result.shape == wanted.shape
            np.testing.assert_allclose(
                to_numpy(result),
                to_numpy(wanted),
                rtol=case.rtol,
                atol=case.atol,
            )


def test_most_node_tests_are_run() -> None:
    """The list of exceptions must not swallow the suite."""
    everything = list(cases())
    assert len(everything) > 1000
    assert sum(bool(case.marks) for case in everything) < 0.25 * len(everything)
