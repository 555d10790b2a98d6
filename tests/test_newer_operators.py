"""Operators that ONNX brought after opset 21: ONNX's own node tests judge their canonical form, run by onnxruntime."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.passes.convert_opset import CANONICAL_OPSET

PLAIN = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL}


def newer(node: onnx.NodeProto) -> bool:
    return node.domain == "" and not onnx.defs.has(node.op_type, CANONICAL_OPSET, "")


def cases():
    for case in load_model_tests(kind="node"):
        model = case.model
        types = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
        if any(map(newer, model.graph.node)) and types <= PLAIN:
            yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", cases())
def test_a_newer_operator_is_written_out(case) -> None:
    model = ir.from_proto(case.model)
    names = [str(value.name) for value in model.graph.outputs]
    if any(
        not onnx.defs.get_schema(node.op_type, 99, "").context_dependent_function_opset_versions
        and not onnx.defs.get_schema(node.op_type, 99, "").has_function
        for node in case.model.graph.node
        if newer(node)
    ):
        with pytest.raises(ModelError, match="not read yet"):
            canonicalize(model)
        return
    canonical = canonicalize(model)
    assert canonical.opset_imports[""] == CANONICAL_OPSET
    session = ort.InferenceSession(model_bytes(canonical), providers=["CPUExecutionProvider"])
    for inputs, expected in case.data_sets:
        given = dict(zip([each.name for each in case.model.graph.input], inputs, strict=True))
        feeds = {each.name: to_numpy(given[each.name]) for each in session.get_inputs()}
        for found, wanted in zip(session.run(names, feeds), expected, strict=True):
            np.testing.assert_allclose(found, to_numpy(wanted), rtol=1e-3, atol=1e-5)


def to_numpy(value: object) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
