"""Canonical form: the same function, whatever the opset; onnxruntime is the judge."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_cnn, make_encoder, make_model, weights
from onnx import TensorProto, helper, numpy_helper

from mpq_onnx import inspect
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.model_file import load_model, model_bytes
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runs.exporting import export

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
QUICK = ("light_bvlc_alexnet", "light_shufflenet", "light_squeezenet")


def run(content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17])
def test_same_function_from_any_opset(opset: int) -> None:
    model = make_cnn(opset=opset)
    if opset < 9:  # initializers were inputs as well
        for tensor in model.graph.initializer:
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    canonical = canonicalize(ir.from_proto(model))
    onnx.checker.check_model(ir.to_proto(canonical), full_check=True)
    assert canonical.opset_imports[""] == 21
    feeds = {"images": images()}
    np.testing.assert_allclose(
        run(model_bytes(canonical), feeds)[0], run(model.SerializeToString(), feeds)[0], rtol=1e-4, atol=1e-5
    )


def calling(nodes: list[onnx.NodeProto], opset: int, versions: dict[str, int]) -> onnx.ModelProto:
    """MatMul, a function of `nodes` from h to g that imports `versions`, MatMul."""
    rng = np.random.default_rng(0)
    outer = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Local", ["a"], ["b"], "call", domain="local"),
        helper.make_node("MatMul", ["b", "v"], ["y"], "second"),
    ]
    tensors = {"w": weights(rng, 6, 6), "v": weights(rng, 6, 3)}
    model = make_model(outer, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 3])], tensors, opset)
    inner = [
        helper.make_node("Constant", [], ["u"], value=numpy_helper.from_array(weights(rng, 6, 6))),
        *nodes,
    ]
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    model.functions.append(helper.make_function("local", "Local", ["h"], ["g"], inner, imports))
    deeper = [helper.make_node("Relu", ["h"], ["g"])]
    model.functions.append(
        helper.make_function("local", "Deeper", ["h"], ["g"], deeper, [helper.make_opsetid("", opset)])
    )
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


PRODUCT = helper.make_node("MatMul", ["h", "u"], ["p"])
FUNCTIONS = {
    "a newer one": ([PRODUCT, helper.make_node("Relu", ["p"], ["g"])], 17, {"": 18}),
    "an older one": ([PRODUCT, helper.make_node("Softmax", ["p"], ["g"])], 18, {"": 13}),
    "of a function's domain": (
        [PRODUCT, helper.make_node("Deeper", ["p"], ["g"], domain="local")], 17, {"": 18, "local": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_another_opset(name: str, tmp_path: Path) -> None:
    source = calling(*FUNCTIONS[name])
    onnx.save(source, tmp_path / "source.onnx")
    found = inspect(tmp_path / "source.onnx")
    assert found.weights == found.macs == 2 * 6 * 6 + 6 * 3 and not found.notes
    export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    feeds = {"x": np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)}
    np.testing.assert_allclose(
        run((tmp_path / "float.onnx").read_bytes(), feeds)[0],
        run(source.SerializeToString(), feeds)[0],
        rtol=1e-4,
    )


@pytest.mark.parametrize("node", [
    helper.make_node("Softmax", ["p"], ["g"]),  # over other axes since 13
    helper.make_node("ReduceSum", ["p"], ["g"], axes=[0]),  # which are an input since 13
], ids=lambda node: node.op_type)  # fmt: skip
def test_a_function_whose_operators_mean_something_else_is_refused(node: onnx.NodeProto) -> None:
    with pytest.raises(ModelError, match="Opset mismatch"):
        canonicalize(ir.from_proto(calling([PRODUCT, node], 13, {"": 11})))


def test_batch_normalization_is_folded_and_every_node_is_named() -> None:
    canonical = canonicalize(ir.from_proto(make_cnn()))
    assert "BatchNormalization" not in {node.op_type for node in canonical.graph}
    names = [node.name for node in canonical.graph]
    assert all(names) and len(set(names)) == len(names)
    assert {"stem", "inner", "depthwise", "fc"} <= set(names)  # from the weights' names
    assert all(value.shape is not None for node in canonical.graph for value in node.outputs)


def test_canonical_form_is_a_fixed_point() -> None:
    once = canonicalize(ir.from_proto(make_encoder()))
    twice = canonicalize(ir.from_proto(ir.to_proto(once)))
    assert fingerprint(once) == fingerprint(twice)


def test_external_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(make_cnn(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    feeds = {"images": images()}
    np.testing.assert_allclose(
        run(model_bytes(canonicalize(load_model(path))), feeds)[0],
        run(make_cnn().SerializeToString(), feeds)[0],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.slow, id=path.stem)
        for path in sorted(LIGHT.glob("*.onnx"))
    ],
)
def test_light_models_of_the_onnx_package_stay_the_same(path: Path) -> None:
    """Nine networks of opset 9 that nobody here exported; their weights are constants made by the graph itself."""
    source = load_model(path)
    canonical = canonicalize(load_model(path))
    inputs = [value for value in source.graph.inputs if value.name not in source.graph.initializers]
    rng = np.random.default_rng(0)
    feeds = {
        str(value.name): rng.standard_normal(tuple(value.shape.numpy())).astype(np.float32)
        for value in inputs
    }
    for found, wanted in zip(run(model_bytes(canonical), feeds), run(path.read_bytes(), feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_old_opset_is_refused() -> None:
    model = make_cnn()
    model.opset_import[0].version = 6
    with pytest.raises(ModelError, match="opset 6 is older"):
        canonicalize(ir.from_proto(model))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    content = make_cnn().SerializeToString()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"half\.onnx"):
        load_model(path)


def reshaping_model(batch: int, target: list[int]) -> onnx.ModelProto:
    """A model for one batch size: convolution, ReLU, Reshape to `target`, and the sum over its last axis."""
    tensors = {
        "w": weights(np.random.default_rng(0), 4, 3, 3, 3),
        "target": np.array(target, np.int64),
        "axes": np.array([-1], np.int64),
    }
    nodes = [
        onnx.helper.make_node("Conv", ["images", "w"], ["c"], "conv"),
        onnx.helper.make_node("Reshape", ["c", "target"], ["r"], "reshape"),
        onnx.helper.make_node("ReduceSum", ["r", "axes"], ["y"], "sum", keepdims=0),
    ]
    inputs = [("images", onnx.TensorProto.FLOAT, [batch, 3, 5, 5])]
    return make_model(nodes, inputs, [("y", target[:-1])], tensors)


@pytest.mark.parametrize("batch", [1, 4])
def test_export_opens_a_fixed_batch(batch: int, tmp_path: Path) -> None:
    source, path = tmp_path / "source.onnx", tmp_path / "model.onnx"
    onnx.save(reshaping_model(batch, [batch, 2, 18]), source)
    assert export(str(source), path).fixed_batch is None
    pictures = np.random.default_rng(0).standard_normal((batch, 3, 5, 5)).astype(np.float32)
    twice = {"images": np.concatenate([pictures, 2 * pictures])}
    (found,) = run(path.read_bytes(), twice)
    (wanted,) = run(source.read_bytes(), {"images": pictures})
    np.testing.assert_allclose(found, np.concatenate([wanted, 2 * wanted]), rtol=1e-5, atol=1e-6)


def test_a_batch_that_the_graph_mixes_stays_fixed(tmp_path: Path) -> None:
    source, path = tmp_path / "source.onnx", tmp_path / "model.onnx"
    onnx.save(reshaping_model(2, [3, 24]), source)  # rows that hold parts of both examples
    assert export(str(source), path).fixed_batch == 2
    pictures = np.random.default_rng(0).standard_normal((2, 3, 5, 5)).astype(np.float32)
    assert run(path.read_bytes(), {"images": pictures})[0].shape == (3,)


def test_weights_given_by_their_value_are_weights() -> None:
    tensors = {"shape": np.array([4, 3, 3, 3], np.int64)}
    fill = onnx.helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [0.1])
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["w"], "fill", value=fill),
        onnx.helper.make_node("Conv", ["images", "w"], ["y"], "conv"),
    ]
    inputs = [("images", onnx.TensorProto.FLOAT, ["n", 3, 5, 5])]
    canonical = canonicalize(ir.from_proto(make_model(nodes, inputs, [("y", ["n", 4, 3, 3])], tensors)))
    assert [node.op_type for node in canonical.graph] == ["Conv"]
    assert canonical.graph[0].inputs[1].const_value.numpy().shape == (4, 3, 3, 3)


def test_a_weight_that_a_folded_transpose_makes_is_stored_in_order() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["y"]),
    ]
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 8])], [("y", ["n", 4])], {"w": weight}, opset=18
    )
    canonical = canonicalize(ir.from_proto(model))
    assert [node.op_type for node in canonical.graph] == ["MatMul"]
    (stored,) = canonical.graph.initializers.values()
    np.testing.assert_array_equal(stored.const_value.numpy(), weight.T)


def test_training_mode_is_refused_by_name() -> None:
    tensors = {name: np.ones(3, np.float32) for name in ("scale", "bias", "mean", "variance")}
    node = helper.make_node(
        "BatchNormalization", ["x", *tensors], ["y", "mean_out", "variance_out"], "normalize", training_mode=1
    )
    model = make_model([node], [("x", TensorProto.FLOAT, ["n", 3])], [("y", ["n", 3])], tensors)
    with pytest.raises(ModelError, match=r"normalize \(BatchNormalization\) is in training mode"):
        canonicalize(ir.from_proto(model))
