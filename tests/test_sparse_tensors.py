"""Sparse initializers and Constants are weights like any others; those that claim more than they hold are refused."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_cli import assert_one_line, run_inside

import mpq_onnx

SHAPE = 16, 8
RNG = np.random.default_rng(0)


def sparse_tensor(dense: np.ndarray, name: str, form: str) -> onnx.SparseTensorProto:
    """Its values with coordinates, or with places in the flattened array."""
    places = np.flatnonzero(dense) if form == "flat" else np.argwhere(dense)
    values = dense[dense != 0]
    return helper.make_sparse_tensor(
        numpy_helper.from_array(values, name),
        numpy_helper.from_array(places.astype(np.int64), f"{name}_places"),
        list(dense.shape),
    )


def sparse_weight(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    weight = RNG.standard_normal(shape).astype(np.float32)
    weight[np.abs(weight) < 1] = 0
    return weight


def sparse_file(path: Path, tensor: onnx.SparseTensorProto, constant: bool = False) -> Path:
    """x times the tensor."""
    rows, columns = tensor.dims
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], "weight", sparse_value=tensor))
    graph = helper.make_graph(
        nodes,
        "sparse",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        sparse_initializer=[] if constant else [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("form", "constant"), [("rows", False), ("flat", False), ("rows", True)])
def test_sparse_weights_are_quantized_as_dense_ones(tmp_path: Path, form: str, constant: bool) -> None:
    weight, x = sparse_weight(), RNG.standard_normal((80, SHAPE[0])).astype(np.float32)
    file = sparse_file(tmp_path / "m.onnx", sparse_tensor(weight, "w", form), constant)
    mpq_onnx.export(str(file), tmp_path / "float.onnx")
    session = ort.InferenceSession(str(tmp_path / "float.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ weight, rtol=1e-5, atol=1e-5)
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform")
    result = mpq_onnx.allocate(file, x, tmp_path / "out", weight_bits=8, activation_bits=8, options=options)
    found = mpq_onnx.evaluate(result.model_path, x, baseline=file).evaluation.comparison
    assert found is not None and found.output_sqnr is not None and found.output_sqnr > 25


def test_inspect_counts_sparse_weights(tmp_path: Path) -> None:
    file = sparse_file(tmp_path / "m.onnx", sparse_tensor(sparse_weight(), "w", "rows"))
    assert "128" in run_inside("inspect", file).stdout


@pytest.mark.parametrize("shape", [[2**40, 2**20], [2**20, 2**20], [2**31, 2**33]])
def test_a_sparse_tensor_cannot_claim_what_it_does_not_hold(tmp_path: Path, shape: list[int]) -> None:
    tensor = sparse_tensor(sparse_weight((6, 4)), "w", "rows")
    tensor.dims[:] = shape
    file = sparse_file(tmp_path / "m.onnx", tensor)
    assert_one_line(run_inside("inspect", file), 3, "m.onnx", "sparse tensor w", "bytes")


def test_many_sparse_tensors_cannot_either(tmp_path: Path) -> None:
    tensors = [sparse_tensor(sparse_weight((6, 4)), f"w{index}", "rows") for index in range(64)]
    for tensor in tensors:
        tensor.dims[:] = [2**13, 2**12]
    file = sparse_file(tmp_path / "m.onnx", sparse_tensor(sparse_weight((6, 4)), "w", "rows"))
    model = onnx.load(file)
    model.graph.sparse_initializer.extend(tensors)
    file.write_bytes(model.SerializeToString())
    assert_one_line(run_inside("inspect", file), 3, "m.onnx", "sparse tensor w", "bytes")


@pytest.mark.parametrize("places", [[[0, 0], [9, 9]], [[0, 0], [0, -1]], [[0, 0]]])
def test_places_beyond_a_sparse_tensor_are_refused(tmp_path: Path, places: list[list[int]]) -> None:
    tensor = sparse_tensor(np.eye(6, 2, dtype=np.float32), "w", "rows")
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array(places, np.int64), "places"))
    assert_one_line(run_inside("inspect", sparse_file(tmp_path / "m.onnx", tensor)), 3, "m.onnx")
