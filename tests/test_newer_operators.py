"""Operators that ONNX brought after opset 21: ONNX's own node tests judge their canonical form, run by onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_model
from onnx import TensorProto, helper
from onnx_node_tests import as_array, node_tests

import mpq_onnx
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


def attention(by_hand: bool) -> onnx.ModelProto:
    """Self-attention of two heads over six tokens, for any batch."""
    rng = np.random.default_rng(0)
    tensors = {f"w{name}": (rng.standard_normal((16, 16)) / 4).astype(np.float32) for name in "qkvy"}
    nodes = [helper.make_node("MatMul", ["x", f"w{name}"], [name], name) for name in "qkv"]
    if by_hand:
        tensors |= {"split": np.array([0, 6, 2, 8]), "merged": np.array([0, 6, 16])}
        tensors["half"] = np.array(8**-0.5, np.float32)
        for name in "qkv":
            nodes.append(helper.make_node("Reshape", [name, "split"], [f"{name}_split"], f"{name}_split"))
            order = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
            nodes.append(
                helper.make_node(
                    "Transpose", [f"{name}_split"], [f"{name}_turned"], f"{name}_turned", perm=order
                )
            )
        nodes += [
            helper.make_node("Mul", ["q_turned", "half"], ["scaled"], "scale"),
            helper.make_node("MatMul", ["scaled", "k_turned"], ["scores"], "scores"),
            helper.make_node("Softmax", ["scores"], ["weights"], "softmax", axis=-1),
            helper.make_node("MatMul", ["weights", "v_turned"], ["parts"], "parts"),
            helper.make_node("Transpose", ["parts"], ["turned"], "turned", perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", ["turned", "merged"], ["a"], "merge"),
        ]
    else:
        heads = {"q_num_heads": 2, "kv_num_heads": 2}
        nodes.append(helper.make_node("Attention", ["q", "k", "v"], ["a"], "attention", **heads))
    nodes.append(helper.make_node("MatMul", ["a", "wy"], ["y"], "last"))
    return make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 6, 16])], [("y", ["n", 6, 16])], tensors, opset=23
    )


def test_attention_is_what_it_is_by_hand(tmp_path: Path) -> None:
    found = []
    for by_hand in (True, False):
        onnx.save(attention(by_hand), tmp_path / "source.onnx")
        mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
        result = mpq_onnx.inspect(tmp_path / "float.onnx")
        layers = sorted((layer.node, layer.elements, layer.macs) for layer in result.layers if layer.elements)
        found.append((layers, result.macs, result.activations))
    assert found[0] == found[1]
