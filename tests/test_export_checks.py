"""export: inputs given for good, the comparison with the source, weights that stay one tensor, branches that fold."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.errors import ModelError
from mpq_onnx.runs.exporting import export
from mpq_onnx.runtime.agreement import agreement

RNG = np.random.default_rng(0)


def rate_dependent() -> onnx.ModelProto:
    """A scalar input decides which of two matrices is used, as a sample rate does."""
    branches = {}
    for name, weight in (("then_branch", "w16"), ("else_branch", "w8")):
        node = helper.make_node("MatMul", ["x", weight], [name], f"{weight}_product")
        end = helper.make_node("Identity", [name], [f"{name}_end"])
        branches[name] = helper.make_graph(
            [node, end], name, [], [helper.make_tensor_value_info(f"{name}_end", TensorProto.FLOAT, ["n", 4])]
        )
    nodes = [
        helper.make_node("Equal", ["sr", "sixteen"], ["fast"], "equal"),
        helper.make_node("If", ["fast"], ["y"], "choose", **branches),
    ]
    tensors = {
        "sixteen": np.array(16000, np.int64),
        "w16": weights(RNG, 8, 4),
        "w8": weights(RNG, 8, 4),
    }
    inputs = [("x", TensorProto.FLOAT, ["n", 8]), ("sr", TensorProto.INT64, [])]
    return make_model(nodes, inputs, [("y", ["n", 4])], tensors)


def run(path: Path, **feeds: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_set_input_folds_the_branch_away(rate: int, tmp_path: Path) -> None:
    source, path = tmp_path / "source.onnx", tmp_path / "model.onnx"
    onnx.save(rate_dependent(), source)
    result = run_inside("export", source, "--set", f"sr={rate}", "-o", path)
    assert result.returncode == 0, result.stderr
    model = onnx.load(path)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    assert [value.name for value in model.graph.input] == ["x"]
    assert len(model.graph.initializer) == 1  # the other branch's weight is gone
    x = RNG.standard_normal((3, 8)).astype(np.float32)
    np.testing.assert_allclose(
        run(path, x=x)[0], run(source, x=x, sr=np.array(rate, np.int64))[0], rtol=1e-5, atol=1e-6
    )


def test_products_in_branches_that_stay_are_named(tmp_path: Path) -> None:
    onnx.save(rate_dependent(), tmp_path / "source.onnx")
    result = run_inside("export", tmp_path / "source.onnx", "-o", tmp_path / "model.onnx")
    assert result.returncode == 0, result.stderr
    assert "w16" in result.stdout and "w8" in result.stdout and "branch" in result.stdout
    assert "allocate and handoff refuse this model" in result.stdout


def test_what_allocate_takes_and_handoff_does_not_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    node = helper.make_node("Einsum", ["x", "a", "b"], ["y"], "triple", equation="nk,kl,ll->nl")
    given, made = [("x", TensorProto.FLOAT, ["n", 3])], [("y", ["n", 5])]
    onnx.save(
        make_model([node], given, made, {"a": weights(rng, 3, 5), "b": weights(rng, 5, 5)}),
        tmp_path / "in.onnx",
    )
    notes = export(str(tmp_path / "in.onnx"), tmp_path / "out.onnx").notes
    assert len([note for note in notes if "handoff refuses" in note and "triple" in note]) == 1


@pytest.mark.parametrize(
    "settings, parts",
    [
        (["nothing=1"], ["nothing", "no such input", "sr"]),
        (["sr"], ["NAME=VALUE"]),
        (["sr="], ["NAME=VALUE"]),
        (["sr=fast"], ["sr=fast", "number"]),
        (["sr=1.5"], ["1.5"]),
        (["sr=1,2"], ["2 numbers"]),
        (["sr=1", "sr=2"], ["twice"]),
        (["sr=missing.npy"], ["missing.npy", "cannot be read"]),
        (["sr=1", "x=1"], ["without an input"]),
        (["n=0"], ["axis"]),
    ],
)
def test_settings_that_make_no_sense(settings: list[str], parts: list[str], tmp_path: Path) -> None:
    onnx.save(rate_dependent(), tmp_path / "source.onnx")
    options = [each for setting in settings for each in ("--set", setting)]
    result = run_inside("export", tmp_path / "source.onnx", *options, "-o", tmp_path / "model.onnx")
    assert_one_line(result, 2, *parts)


def test_arrays_files_and_lengths_are_set(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["m"], "gain_product"),
        helper.make_node("Shape", ["m"], ["s"], "lengths"),
        helper.make_node("Gather", ["s", "two"], ["t"], "pick"),
        helper.make_node("Cast", ["t"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["m", "f"], ["y"], "mean"),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n", 3, "time"]), ("gain", TensorProto.FLOAT, [3, 1])]
    source, path = tmp_path / "source.onnx", tmp_path / "model.onnx"
    model = make_model(nodes, inputs, [("y", ["n", 3, "time"])], {"two": np.array(2, np.int64)})
    onnx.save(model, source)
    gain = np.array([[1], [2], [3]], np.float32)
    np.save(tmp_path / "gain.npy", gain)
    x = RNG.standard_normal((2, 3, 5)).astype(np.float32)
    wanted = run(source, x=x, gain=gain)[0]
    for value in (gain, [1, 2, 3], "1,2,3", str(tmp_path / "gain.npy")):
        export(str(source), path, values={"gain": value, "time": 5})
        np.testing.assert_allclose(run(path, x=x)[0], wanted, rtol=1e-6)
        assert [node.op_type for node in onnx.load(path).graph.node] == ["Mul", "Div"]


NUMBERS = np.array([1.0, np.nan, np.inf], np.float32)


@pytest.mark.parametrize(
    "found, wanted, agree",
    [
        (NUMBERS, NUMBERS, True),
        (np.array([1, np.nan], np.float32), np.array([1, 2], np.float32), False),
        (np.array([1, 2], np.float32), np.array([1, np.nan], np.float32), False),
        (np.array([np.inf], np.float32), np.array([-np.inf], np.float32), False),
        (np.array([1, 2]), np.array([1, 2]), True),
        (np.array([1, 2]), np.array([1, 3]), False),
        (np.array([True]), np.array([False]), False),
        (np.array(["a"], object), np.array(["a"], object), True),
        (np.array(["a"], object), np.array(["b"], object), False),
        (np.zeros((2, 1)), np.zeros((1, 2)), False),
        (np.zeros((0, 3)), np.zeros((0, 3)), True),
    ],
)
def test_outputs_of_any_type_are_compared(found: np.ndarray, wanted: np.ndarray, agree: bool) -> None:
    result = agreement([found], [wanted], ["y"])
    assert (result.fault is None and result.difference == 0) == agree


@pytest.mark.parametrize("through", ["identity", "copies"])
def test_a_weight_that_layers_share_stays_one_tensor(through: str, tmp_path: Path) -> None:
    """Twelve layers of one matrix, read through Identity or stored twelve times, at the end of a graph too."""
    weight = weights(RNG, 64, 64)
    tensors, nodes, value = {"w": weight}, [], "x"
    for layer in range(12):
        read = f"w{layer}"
        if through == "identity":
            nodes.append(helper.make_node("Identity", ["w"], [read], f"same{layer}"))
        else:
            tensors[read] = weight
        nodes += [
            helper.make_node("MatMul", [value, read], [f"m{layer}"], f"layer{layer}"),
            helper.make_node("Tanh", [f"m{layer}"], [f"t{layer}"], f"tanh{layer}"),
        ]
        value = f"t{layer}"
    nodes.append(helper.make_node("Identity", [value], ["y"], "end"))
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 64])], [("y", ["n", 64])], tensors)
    onnx.save(model, tmp_path / "source.onnx")
    result = export(str(tmp_path / "source.onnx"), tmp_path / "model.onnx")
    assert result.bytes < 2 * weight.nbytes


@pytest.mark.parametrize("kind", ["outer tensor", "input", "initializer"])
def test_a_branch_may_end_with_what_lies_outside(kind: str, tmp_path: Path) -> None:
    """An If whose condition hangs on the data: one branch passes on a tensor from outside through Identity."""
    source = {"outer tensor": "r", "input": "x", "initializer": "c"}[kind]
    shape = [3] if kind == "initializer" else ["n", 3]
    branches = {
        name: helper.make_graph(
            [helper.make_node(op_type, [source], [f"{name}_y"], f"{name}_node")], name, [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, shape)],
        )
        for name, op_type in (("then_branch", "Identity"), ("else_branch", "Neg"))
    }  # fmt: skip
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("ReduceSum", ["x"], ["s"], "sum", keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["more"], "more"),
        helper.make_node("If", ["more"], ["i"], "if", **branches),
        helper.make_node("Add", ["i", "r"], ["y"], "add"),
    ]
    tensors = {"zero": np.float32(0), "c": np.arange(3, dtype=np.float32)}
    onnx.save(
        make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3])], [("y", ["n", 3])], tensors),
        tmp_path / "s.onnx",
    )
    export(str(tmp_path / "s.onnx"), tmp_path / "m.onnx")
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    for sign in (1, -1):
        x = np.full((2, 3), sign, np.float32)
        np.testing.assert_allclose(run(tmp_path / "m.onnx", x=x)[0], run(tmp_path / "s.onnx", x=x)[0])


def test_initializers_that_are_inputs_unused_inputs_and_empty_ones(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "product"),
        helper.make_node("Concat", ["cache", "m"], ["y"], "join", axis=1),
    ]
    inputs = [
        ("x", TensorProto.FLOAT, ["n", 2, 8]),
        ("w", TensorProto.FLOAT, [8, 4]),
        ("unused", TensorProto.FLOAT, ["n", 3]),
        ("cache", TensorProto.FLOAT, ["n", 0, 4]),
    ]
    model = make_model(nodes, inputs, [("y", ["n", 2, 4])], {"w": weights(RNG, 8, 4)})
    onnx.save(model, tmp_path / "source.onnx")
    export(str(tmp_path / "source.onnx"), tmp_path / "model.onnx")
    names = [value.name for value in onnx.load(tmp_path / "model.onnx").graph.input]
    assert names == ["x", "unused", "cache"]


@pytest.mark.parametrize("field", ["type", "shape"])
def test_an_output_that_states_no_shape_gets_it(field: str, cnn_file: Path, tmp_path: Path) -> None:
    """As some exporters leave it: ONNX's rules want it stated, onnxruntime does without."""
    model, path = onnx.load(cnn_file), tmp_path / "bare.onnx"
    output = model.graph.output[0]
    output.ClearField("type") if field == "type" else output.type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    assert mpq_onnx.evaluate(path, "random?count=4", baseline=cnn_file).evaluation.examples == 4
    mpq_onnx.export(path, tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    assert len(onnx.load(tmp_path / "model.onnx").graph.output[0].type.tensor_type.shape.dim) == 2


def test_an_output_of_which_nothing_can_be_inferred_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mystery", ["x"], ["y"], "mystery", domain="somebody.else")]
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3])], [("y", ["n", 3])], {})
    model.opset_import.append(helper.make_opsetid("somebody.else", 1))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="output y has no shape, and none can be inferred"):
        mpq_onnx.card(tmp_path / "model.onnx")
