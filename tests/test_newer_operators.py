"""Operators that ONNX brought after opset 21: ONNX's own node tests judge their canonical form, run by onnxruntime."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto
from onnx_node_tests import as_array, node_tests

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.passes.convert_opset import CANONICAL_OPSET

PLAIN = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL}


def newer(node: onnx.NodeProto) -> bool:
    return node.domain == "" and not onnx.defs.has(node.op_type, CANONICAL_OPSET, "")


def is_function(node: onnx.NodeProto) -> bool:
    schema = onnx.defs.get_schema(node.op_type, onnx.defs.onnx_opset_version(), "")
    return schema.has_function or schema.has_context_dependent_function


def cases():
    for case in node_tests():
        model = case.model
        types = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
        if any(map(newer, model.graph.node)) and types <= PLAIN and not case.name.endswith("_expanded"):
            yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", cases())
def test_a_newer_operator_is_written_out(case) -> None:
    model = ir.from_proto(case.model)
    names = [str(value.name) for value in model.graph.outputs]
    if not all(is_function(node) for node in case.model.graph.node if newer(node)):
        with pytest.raises(ModelError, match="not read yet"):
            canonicalize(model)
        return
    canonical = canonicalize(model)
    assert canonical.opset_imports[""] == CANONICAL_OPSET
    session = ort.InferenceSession(model_bytes(canonical), providers=["CPUExecutionProvider"])
    for inputs, expected in case.data_sets:
        given = dict(zip([each.name for each in case.model.graph.input], inputs, strict=True))
        feeds = {each.name: as_array(given[each.name]) for each in session.get_inputs()}
        for found, wanted in zip(session.run(names, feeds), expected, strict=True):
            np.testing.assert_allclose(found, as_array(wanted), rtol=1e-3, atol=1e-5)
