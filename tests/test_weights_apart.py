"""Copies and sessions share the weights of a model in memory, and nothing else changes."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.model_file import clone, load_model, model_bytes
from mpq_onnx.mirror import build_mirror
from mpq_onnx.runtime.session import Runner

SIZE = 64
"""A weight of SIZE x SIZE is large enough to be shared."""


def branching_file(path: Path) -> dict[str, np.ndarray]:
    """Weights in the graph and in a branch, one that is an input's default, one that nobody reads, one of 4 bits."""
    rng = np.random.default_rng(0)
    names = ("weight", "default", "unread", "inner")
    weights = {name: rng.standard_normal((SIZE, SIZE)).astype(np.float32) for name in names}
    then = helper.make_graph(
        [helper.make_node("MatMul", ["x", "inner"], ["a"])],
        "then",
        [],
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights["inner"], "inner")],
    )
    otherwise = helper.make_graph(
        [helper.make_node("Add", ["x", "default"], ["b"])],
        "otherwise",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("If", ["chosen"], ["branch"], name="if", then_branch=then, else_branch=otherwise),
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="product"),
        helper.make_node("DequantizeLinear", ["small", "scale"], ["few"], name="few"),
        helper.make_node("Sum", ["branch", "product", "few"], ["y"], name="sum"),
    ]
    small = helper.make_tensor(
        "small", TensorProto.INT4, [SIZE, SIZE], rng.integers(-8, 8, SIZE * SIZE).tolist()
    )
    graph = helper.make_graph(
        nodes,
        "branching",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIZE, SIZE]),
            helper.make_tensor_value_info("chosen", TensorProto.BOOL, []),
            helper.make_tensor_value_info("default", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [SIZE, SIZE])],
        [numpy_helper.from_array(weights[name], name) for name in names[:3]]
        + [small, numpy_helper.from_array(np.float32(0.5), "scale")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return weights


@pytest.mark.parametrize("optimize", [True, False])
def test_a_session_computes_what_the_file_does(tmp_path: Path, optimize: bool) -> None:
    weights = branching_file(tmp_path / "m.onnx")
    loaded = load_model(tmp_path / "m.onnx")
    x = np.random.default_rng(1).standard_normal((SIZE, SIZE)).astype(np.float32)
    for chosen in (True, False):
        feeds = {"x": x, "chosen": np.array(chosen), "default": weights["default"]}
        wanted = Runner(tmp_path / "m.onnx", "cpu", optimize).run(feeds)
        for model in (loaded, clone(loaded), clone(clone(loaded))):
            np.testing.assert_array_equal(Runner(model, "cpu", optimize).run(feeds)[0], wanted[0])


def test_copies_hold_the_same_weights_and_write_the_same_bytes(tmp_path: Path) -> None:
    branching_file(tmp_path / "m.onnx")
    loaded = load_model(tmp_path / "m.onnx")
    before = model_bytes(loaded)
    copy = clone(loaded)
    for own, other in zip(loaded.graphs(), copy.graphs(), strict=True):
        for name in {"weight", "inner"} & set(own.initializers):
            assert own.initializers[name].const_value is other.initializers[name].const_value
    assert model_bytes(copy) == model_bytes(loaded) == before


def test_what_a_pass_does_to_a_copy_leaves_the_model_alone(tmp_path: Path) -> None:
    branching_file(tmp_path / "m.onnx")
    loaded = load_model(tmp_path / "m.onnx")
    before = model_bytes(loaded)
    copy = clone(loaded)
    copy.graph.initializers["weight"].const_value = ir.tensor(np.zeros((SIZE, SIZE), np.float32))
    assert model_bytes(loaded) == before


def test_a_model_that_cannot_be_written_keeps_its_weights(tmp_path: Path) -> None:
    branching_file(tmp_path / "m.onnx")
    loaded = load_model(tmp_path / "m.onnx")
    loaded.doc_string = "\udc80"
    with pytest.raises(ModelError):
        clone(loaded)
    assert isinstance(loaded.graph.initializers["weight"].const_value, ir.Tensor)


def test_a_mirror_reads_the_models_own_memory(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    weight = numpy_helper.from_array(np.ones((SIZE, SIZE), np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIZE]) for name in "xy"]
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [weight])), tmp_path / "m.onnx"
    )
    model = load_model(tmp_path / "m.onnx")
    array = model.graph.initializers["w"].const_value.numpy()
    assert np.shares_memory(array, build_mirror(model).parameter("w").detach().numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float64])
@pytest.mark.parametrize("order", ["C", "F", "every other"])
def test_weights_that_lie_otherwise_in_memory(dtype: type, order: str) -> None:
    whole = np.random.default_rng(0).integers(-9, 9, (2 * SIZE, 2 * SIZE)).astype(dtype)
    array = whole[::2, ::2] if order == "every other" else np.asarray(whole[:SIZE, :SIZE], order=order)
    weight = ir.Value(name="w", const_value=ir.Tensor(array, name="w"), shape=ir.Shape(array.shape))
    weight.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    node = ir.node("Cast", [weight], {"to": ir.DataType.FLOAT}, name="cast")
    node.outputs[0].name = "y"
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": 21}, name="g")
    model = ir.Model(graph, ir_version=10)
    for each in (model, clone(model)):
        np.testing.assert_array_equal(Runner(each, "cpu").run({})[0], array.astype(np.float32))
