"""Which axis runs over examples: of inputs by names and lengths, of all tensors by running two batch sizes."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from conftest import make_model, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.errors import DataError, ModelError
from mpq_onnx.graph.example_layout import ExampleLayout, examples_first
from mpq_onnx.graph.model_inputs import example_axes, model_inputs
from mpq_onnx.mirror import build_mirror
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import tensor_facts

QUICK = AllocateOptions(method="uniform", rounding="nearest")


@pytest.mark.parametrize(
    ("inputs", "axes"),
    [
        ([["n", 3, 8, 8]], [0]),
        ([[1, 3, 8, 8]], [0]),
        ([["batch", 64], [2, "batch", 128], []], [0, 1, None]),
        ([[1, 64], [2, 1, 128]], [0, 1]),
        ([[20, "batch", 8]], [1]),
        ([["time", "batch", 8]], [1]),
        ([[1, 3, "height", "width"]], [0]),
        ([["a", 21], ["b", 21]], [0, 0]),
        ([[None, 3, None, None], [77]], [0, None]),
        ([None], [0]),
    ],
)
def test_the_axis_of_every_input(inputs: list, axes: list) -> None:
    assert example_axes(inputs) == axes


@given(
    examples=st.integers(1, 4),
    rows=st.integers(1, 3),
    axis=st.integers(0, 2),
    outer=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_examples_come_first(examples: int, rows: int, axis: int, outer: bool, data: st.DataObject) -> None:
    """Whatever the layout, example i of the result is what example i alone has."""
    rest = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    parts = np.random.default_rng(0).standard_normal((examples, rows, *rest))
    placed = parts if outer else parts.swapaxes(0, 1)
    merged = placed.reshape(examples * rows, *rest)
    stored = np.moveaxis(merged, 0, axis)
    found = examples_first(stored, ExampleLayout(axis, rows, outer), examples)
    for index in range(examples):
        np.testing.assert_array_equal(np.sort(found[index].ravel()), np.sort(parts[index].ravel()))


def time_major() -> onnx.ModelProto:
    """x [T=4, n, 6] and a scalar gain -> y [T, n, 5], rows [T*n, 5] through Gemm, examples of a class map, a constant."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["scaled"], "scale"),
        helper.make_node("Reshape", ["scaled", "rows"], ["merged"], "merge"),
        helper.make_node("Gemm", ["merged", "w", "b"], ["hidden"], "dense"),
        helper.make_node("Relu", ["hidden"], ["activated"], "relu"),
        helper.make_node("Reshape", ["activated", "back"], ["y"], "split"),
        helper.make_node("ReduceMean", ["y"], ["pooled"], "pool", axes=[0], keepdims=0),
    ]
    tensors = {
        "rows": np.array([-1, 6], np.int64),
        "back": np.array([4, -1, 5], np.int64),
        "w": weights(rng, 6, 5),
        "b": rng.standard_normal(5).astype(np.float32),
    }
    return make_model(
        nodes,
        [("x", TensorProto.FLOAT, [4, "batch", 6]), ("gain", TensorProto.FLOAT, [])],
        [("y", [4, "batch", 5]), ("pooled", ["batch", 5])],
        tensors,
    )


@pytest.fixture(scope="module")
def time_major_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("time") / "time.onnx"
    onnx.save(time_major(), path)
    return path


def test_layouts_of_a_time_major_network() -> None:
    model = ir.from_proto(time_major())
    dataset = open_dataset("random?count=8", model_inputs(model))
    facts = tensor_facts(model, dataset, "cpu")
    assert facts.layouts["x"] == facts.layouts["y"] == ExampleLayout(1)
    assert facts.layouts["merged"] == facts.layouts["activated"] == ExampleLayout(0, rows=4, outer=False)
    assert facts.layouts["pooled"] == ExampleLayout(0)
    assert facts.layouts["gain"] is None
    assert facts.shapes["x"] == (4, 1, 6) and facts.shapes["merged"] == (4, 6)


def test_a_time_major_network_goes_through_every_command(time_major_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = tmp_path / "data.npz"
    np.savez(data, x=rng.standard_normal((48, 4, 6)).astype(np.float32), gain=np.float32(1.5))
    result = mpq_onnx.allocate(
        time_major_file, f"npz:{data}", tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    assert result.chosen.evaluation.comparison is not None
    assert result.chosen.evaluation.comparison.output_sqnr > 25
    (dense,) = [node for node in result.chosen.allocation.nodes if node.weight]
    assert dense.macs == 4 * 6 * 5
    found = mpq_onnx.evaluate(result.model_path, f"npz:{data}", baseline=time_major_file).evaluation
    assert found.examples == 48
    noisy = mpq_onnx.allocate_energy(
        time_major_file,
        f"npz:{data}",
        tmp_path / "noisy",
        energy_per_mac=100,
        options=mpq_onnx.EnergyOptions(("shot",), method="closed-form"),
    )
    assert noisy.chosen.allocation.macs == 4 * 6 * 5


ROWS: dict[str, tuple[list[onnx.NodeProto], list, ExampleLayout]] = {
    "tokens of an example": (
        [helper.make_node("Reshape", ["h", "rows"], ["y"], "merge")], [None, 4], ExampleLayout(0, rows=5)
    ),
    "one token after the other": (
        [
            helper.make_node("Transpose", ["h"], ["t"], "time_first", perm=[1, 0, 2]),
            helper.make_node("Reshape", ["t", "rows"], ["y"], "merge"),
        ],
        [None, 4],
        ExampleLayout(0, rows=5, outer=False),
    ),
    "all scores in one vector": (
        [helper.make_node("Reshape", ["h", "flat"], ["y"], "merge")], [None], ExampleLayout(0, rows=20)
    ),
    "one row for the batch": (
        [helper.make_node("Flatten", ["h"], ["y"], "merge", axis=0)], [1, None], ExampleLayout(1, rows=20)
    ),
    "every token by every example": (
        [
            helper.make_node("Flatten", ["h"], ["f"], "flat"),
            helper.make_node("Transpose", ["f"], ["y"], "turn", perm=[1, 0]),
        ],
        [20, None],
        ExampleLayout(1),
    ),
}  # fmt: skip
"""What makes y of h [n, 5, 4], the shape of y, and where its examples lie."""


def merged_rows(nodes: list[onnx.NodeProto], shape: list) -> onnx.ModelProto:
    tensors = {
        "w": weights(np.random.default_rng(0), 6, 4),
        "rows": np.array([-1, 4]),
        "flat": np.array([-1]),
    }
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "dense"), *nodes]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 5, 6])], [("y", shape)], tensors)


@pytest.mark.parametrize("case", ROWS)
def test_outputs_whose_rows_are_no_examples(case: str) -> None:
    nodes, shape, layout = ROWS[case]
    model = ir.from_proto(merged_rows(nodes, shape))
    dataset = open_dataset("random?count=7", model_inputs(model))
    assert tensor_facts(model, dataset, "cpu").layouts["y"] == layout
    data = TrainingData(dataset, build_mirror(model, "merged"), torch.device("cpu"))
    (exact,) = data.batch(range(7)).float_outputs
    x = dataset.read(range(7)).inputs["x"]
    wanted = np.stack(
        [Runner(model, "cpu").run({"x": x[index : index + 1]})[0].ravel() for index in range(7)]
    )
    np.testing.assert_allclose(exact.reshape(7, -1).numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_rows_go_through_allocate(tmp_path: Path) -> None:
    path = tmp_path / "rows.onnx"
    onnx.save(merged_rows(*ROWS["one token after the other"][:2]), path)
    result = mpq_onnx.allocate(
        path, "random?count=64", tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    comparison = result.chosen.evaluation.comparison
    assert comparison is not None and comparison.output_sqnr > 25


def test_an_output_over_pairs_of_examples_is_named() -> None:
    nodes = [
        helper.make_node("Flatten", ["h"], ["f"], "flat"),
        helper.make_node("Transpose", ["f"], ["t"], "turn", perm=[1, 0]),
        helper.make_node("MatMul", ["f", "t"], ["y"], "pairs"),
    ]
    model = ir.from_proto(merged_rows(nodes, [None, None]))
    dataset = open_dataset("random?count=70", model_inputs(model))
    with pytest.raises(ModelError, match=r"output y has no single axis .* leave it out"):
        TrainingData(dataset, build_mirror(model, "pairs"), torch.device("cpu"))


def test_examples_go_one_by_one_where_their_batch_is_squeezed_away(tmp_path: Path) -> None:
    tensors = {"w": weights(np.random.default_rng(0), 6, 4), "first": np.array([0])}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "dense"),
        helper.make_node("Squeeze", ["h", "first"], ["y"], "squeeze"),
    ]
    model = ir.from_proto(make_model(nodes, [("x", TensorProto.FLOAT, [1, 5, 6])], [("y", [5, 4])], tensors))
    dataset = open_dataset("random?count=8", model_inputs(model))
    data = TrainingData(dataset, build_mirror(model, "squeezed"), torch.device("cpu"))
    assert data.most_at_once == data.forward_batch == 1
    exact = np.concatenate([dataset.read([place]).inputs["x"] @ tensors["w"] for place in range(8)])
    np.testing.assert_allclose(
        np.concatenate([batch.float_outputs[0].numpy() for batch in data.batches(1)]), exact, atol=1e-6
    )


def test_an_input_that_a_batch_shares_cannot_differ(time_major_file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((4, 4, 6), np.float32), gain=np.arange(4, dtype=np.float32))
    with pytest.raises(DataError, match="input gain, which a batch has one value of"):
        mpq_onnx.evaluate(time_major_file, f"npz:{data}", baseline=time_major_file)


def test_a_fixed_batch_runs_along_each_inputs_own_axis() -> None:
    """x [1, 6] and a state [2, 1, 6]: five examples are five runs, joined along the outputs' own axes."""
    nodes = [
        helper.make_node("Add", ["x", "state"], ["next"], "add"),
        helper.make_node("ReduceSum", ["next", "axes"], ["y"], "sum", keepdims=0),
    ]
    model = make_model(
        nodes,
        [("x", TensorProto.FLOAT, [1, 6]), ("state", TensorProto.FLOAT, [2, 1, 6])],
        [("y", [1, 6]), ("next", [2, 1, 6])],
        {"axes": np.array([0], np.int64)},
    )
    rng = np.random.default_rng(0)
    x, state = (
        rng.standard_normal((5, 6)).astype(np.float32),
        rng.standard_normal((2, 5, 6)).astype(np.float32),
    )
    y, following = Runner(ir.from_proto(model), "cpu").run({"x": x, "state": state})
    np.testing.assert_allclose(following, x + state, rtol=1e-6)
    np.testing.assert_allclose(y, (x + state).sum(0), rtol=1e-5)
