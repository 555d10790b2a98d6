"""A file that is quantized already is named as such before any work, whoever quantized it; what takes it goes on taking it."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_cnn, make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.runtime.session import Runner

RNG = np.random.default_rng(0)
BYTES = RNG.integers(-100, 100, (8, 3, 3, 3)).astype(np.int8)
PICTURES = [("x", TensorProto.FLOAT, ["n", 3, 8, 8])]
SCALES = {"s": np.float32(0.05), "z": np.uint8(128)}


def qdq_conv() -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["q", "ws", ""], ["w"], axis=0),
        helper.make_node("Conv", ["xd", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    nodes[2].input[:] = ["q", "ws"]
    tensors = {**SCALES, "q": BYTES, "ws": np.full(8, 0.01, np.float32)}
    return make_model(nodes, PICTURES, [("y", ["n", 8])], tensors)


def preprocessing_only() -> onnx.ModelProto:
    """A quantizer at the input alone."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("Conv", ["xd", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    return make_model(nodes, PICTURES, [("y", ["n", 8])], {**SCALES, "w": weights(RNG, 8, 3, 3, 3)})


def qlinear_conv() -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("QLinearConv", ["xq", "s", "z", "q", "ws", "wz", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    tensors = {**SCALES, "q": BYTES, "ws": np.float32(0.01), "wz": np.int8(0)}
    return make_model(nodes, PICTURES, [("y", ["n", 8])], tensors)


def dynamic_matmul() -> onnx.ModelProto:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "q", "xz"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "xs"], ["m"]),
        helper.make_node("Mul", ["m", "ws"], ["y"]),
    ]
    tensors = {"q": RNG.integers(-100, 100, (8, 4)).astype(np.int8), "ws": np.float32(0.01)}
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 8])], [("y", ["n", 4])], tensors)


FORMS = [qdq_conv, preprocessing_only, qlinear_conv, dynamic_matmul]


@pytest.mark.parametrize("make", FORMS, ids=[make.__name__ for make in FORMS])
def test_it_is_named_before_any_work(make, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    onnx.save(make(), path)
    data = ("--data", "random?count=8")
    budget = ("--weight-bits", 4, "--activation-bits", 8)
    for arguments in (
        ("export", path, "-o", tmp_path / "out.onnx"),
        ("calibrate", path, *data, "-o", tmp_path / "calibration.json"),
        ("allocate", path, *data, *budget, "-o", tmp_path / "out"),
        ("allocate", path, *data, *budget, "--noise", "shot", "--energy-per-mac", 9, "-o", tmp_path / "out"),
        ("search", path, *data, "--test", "random?count=8", "--min", "top1=0.5", "-o", tmp_path / "out"),
    ):
        result = run_inside(*arguments)
        assert_one_line(result, 3, "quantized already", "float model", "evaluate")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["quantized.onnx"]


@pytest.mark.parametrize("make", FORMS, ids=[make.__name__ for make in FORMS])
def test_what_takes_it_goes_on_taking_it(make, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    onnx.save(make(), path)
    assert run_inside("evaluate", path, "--data", "random?count=8", "--json").returncode == 0
    assert run_inside("card", path, "--json").returncode == 0
    assert run_inside("compare", path, path, "--data", "random?count=4").returncode == 0


def test_noise_wants_products_that_it_can_reach(tmp_path: Path) -> None:
    onnx.save(qlinear_conv(), tmp_path / "integer.onnx")
    options = ("--data", "random?count=8", "--noise", "shot", "--energy-per-mac", 9)
    refused = run_inside("allocate", tmp_path / "integer.onnx", *options, "-o", tmp_path / "out")
    assert_one_line(refused, 3, "quantized already", "QLinearConv")
    onnx.save(qdq_conv(), tmp_path / "qdq.onnx")
    taken = run_inside(
        "allocate", tmp_path / "qdq.onnx", *options, "--method", "uniform", "-o", tmp_path / "out"
    )
    assert taken.returncode == 0, taken.stderr


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_noise_on_activations_in_int8(op: str, tmp_path: Path) -> None:
    """As quantize_static writes them: onnxruntime moves their DequantizeLinear into the noisy operator where it can."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["q", "ws", "wz"], ["w"]),
        helper.make_node(op, ["xd", "w"], ["y"], group=2),
    ]
    weight = BYTES[:4, :2] if op == "Conv" else BYTES[:4, :3]
    tensors = {"s": np.float32(0.05), "z": np.int8(-3), "q": weight, "ws": np.float32(0.01), "wz": np.int8(0)}
    channels, side = (4, 6) if op == "Conv" else (6, 10)
    shape = ["n", channels, side, side]
    onnx.save(
        make_model(nodes, [("x", TensorProto.FLOAT, ["n", 4, 8, 8])], [("y", shape)], tensors),
        tmp_path / "theirs.onnx",
    )
    options = mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1)
    noisy = mpq_onnx.allocate_energy(
        tmp_path / "theirs.onnx", "random?count=32", tmp_path / "noisy", energy_per_mac=1e6, options=options
    )
    x = RNG.standard_normal((3, 4, 8, 8)).astype(np.float32)
    (exact,), (found,) = (
        Runner(each, "cpu").run({"x": x}) for each in (tmp_path / "theirs.onnx", noisy.model_path)
    )
    assert 40 < 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) < 100


@pytest.mark.parametrize(("axis", "block"), [(1, 0), (0, 2)])
def test_noise_on_weights_in_int4(axis: int, block: int, tmp_path: Path) -> None:
    """Weights alone are quantized, an axis or blocks at a time."""
    weight = helper.make_tensor("q", TensorProto.INT4, [6, 4], RNG.integers(-8, 8, 24).tolist())
    scales = np.full((3, 4) if block else 4, 0.1, np.float32)
    blocks = {"block_size": block} if block else {}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "ws"], ["w"], axis=axis, **blocks),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 4])], {"ws": scales}, opset=21
    )
    model.ir_version = 10
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "theirs.onnx")
    options = mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1)
    noisy = mpq_onnx.allocate_energy(
        tmp_path / "theirs.onnx", "random?count=32", tmp_path / "noisy", energy_per_mac=1e6, options=options
    )
    x = RNG.standard_normal((64, 6)).astype(np.float32)
    (exact,), (found,) = (
        Runner(each, "cpu").run({"x": x}) for each in (tmp_path / "theirs.onnx", noisy.model_path)
    )
    assert 40 < 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) < 100


def test_nodes_without_names_are_told_apart(tmp_path: Path) -> None:
    """Also two that have the same one: onnxruntime refuses such a file."""
    model = make_cnn()
    for node in model.graph.node:
        node.name = "same" if node.op_type == "Conv" else ""
    onnx.save(model, tmp_path / "unnamed.onnx")
    result = run_inside("handoff", tmp_path / "unnamed.onnx", "--to", "json", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    table = json.loads((tmp_path / "out" / "layers.json").read_text())
    names = [row["name"] for row in table["layers"]]
    assert len(set(names)) == len(names) == 4
    assert [row["weight_shape"] for row in table["layers"]] == [
        [8, 3, 3, 3],
        [8, 8, 3, 3],
        [8, 1, 3, 3],
        [6, 8],
    ]
