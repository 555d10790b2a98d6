"""What is divided by, and what is normalized by its own sum, is not rounded: 0 / 0 is no number."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.roles import Role, value_roles
from mpq_onnx.passes.canonicalize import canonicalize

FLOAT = TensorProto.FLOAT
TOKENS, WIDTH = 6, 16
MASKED = [
    helper.make_node("Mul", ["p", "mask"], ["left"], "left"),
    helper.make_node("ReduceSum", ["left", "last"], ["total"], "total", keepdims=1),
    helper.make_node("Div", ["left", "total"], ["shares"], "shares"),
]
LARGEST = [
    helper.make_node("Mul", ["s", "s"], ["squares"], "squares"),
    helper.make_node("ReduceMax", ["squares"], ["most"], "most", axes=[-1], keepdims=1),
    helper.make_node("Sqrt", ["most"], ["largest"], "largest"),
    helper.make_node("Div", ["s", "largest"], ["shares"], "shares"),
]
RECIPROCAL = [
    helper.make_node("Abs", ["s"], ["size"], "size"),
    helper.make_node("ReduceMean", ["size"], ["mean"], "mean", axes=[-1], keepdims=1),
    helper.make_node("Reciprocal", ["mean"], ["inverse"], "inverse"),
    helper.make_node("Mul", ["s", "inverse"], ["shares"], "shares"),
]
KINDS: dict[str, tuple[list[NodeProto], set[str]]] = {
    "constant mask": (MASKED, {"p", "left", "total"}),
    "mask as an input": (MASKED, {"p", "left", "total"}),
    "largest": (LARGEST, {"s", "squares", "most", "largest"}),
    "reciprocal": (RECIPROCAL, {"mean"}),
}


def attention(path: Path, kind: str) -> Path:
    rng = np.random.default_rng(0)
    tensors = {f"w{name}": (rng.normal(0, 1, (WIDTH, WIDTH)) / 3).astype(np.float32) for name in "qkvo"}
    tensors["last"] = np.array([-1])
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["n", TOKENS, WIDTH])]
    if kind == "constant mask":
        tensors["mask"] = np.tril(np.ones((TOKENS, TOKENS), np.float32))
    if kind == "mask as an input":
        inputs.append(helper.make_tensor_value_info("mask", FLOAT, ["n", TOKENS, TOKENS]))
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w{name}"], [name], name) for name in "qkv"),
        helper.make_node("Transpose", ["k"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "turned"], ["s"], "scores"),
        helper.make_node("Softmax", ["s"], ["p"], "softmax"),
        *KINDS[kind][0],
        helper.make_node("MatMul", ["shares", "v"], ["m"], "mixture"),
        helper.make_node("MatMul", ["m", "wo"], ["y"], "out"),
    ]
    if not any("p" in node.input for node in KINDS[kind][0]):
        nodes = [node for node in nodes if node.name != "softmax"]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info("y", FLOAT, ["n", TOKENS, WIDTH])],
        [numpy_helper.from_array(each, name) for name, each in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def examples(kind: str, seed: int, count: int = 128) -> dict[str, np.ndarray]:
    feeds = {
        "x": np.random.default_rng(seed).normal(0, 1, (count, TOKENS, WIDTH)).astype(np.float32),
        "mask": np.broadcast_to(
            np.tril(np.ones((TOKENS, TOKENS), np.float32)), (count, TOKENS, TOKENS)
        ).copy(),
    }
    return feeds if kind == "mask as an input" else {"x": feeds["x"]}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_normalized_is_rounded_behind_the_division(kind: str, tmp_path: Path) -> None:
    source = attention(tmp_path / "m.onnx", kind)
    roles = value_roles(canonicalize(load_model(source))).roles
    assert {name for name, role in roles.items() if role is Role.DIVISOR} == KINDS[kind][1]
    np.savez(tmp_path / "data.npz", **examples(kind, 1))
    result = mpq_onnx.allocate(
        source, f"npz:{tmp_path / 'data.npz'}", tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    widths = {
        node.node: node.weight_bits for node in result.chosen.allocation.nodes if node.weight is not None
    }
    assert widths.keys() >= {"q", "k", "v", "out"} and None not in {
        widths[name] for name in ("q", "k", "v", "out")
    }
    feeds = examples(kind, 2)
    exact, found = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for path in (source, result.model_path)
    )
    assert np.isfinite(found).all()
    by_example = (exact**2).sum((1, 2)) / ((exact - found) ** 2).sum((1, 2))
    assert 10 * np.log10(by_example.min()) > 15  # 6 dB where a row of zeros was divided by its sum


@pytest.mark.parametrize("kind", ["constant mask", pytest.param("largest", marks=pytest.mark.slow)])
def test_noise_on_such_a_file(kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **examples(kind, 1))
    result = mpq_onnx.allocate_energy(
        attention(tmp_path / "m.onnx", kind), f"npz:{tmp_path / 'data.npz'}", tmp_path / "out", energy_per_mac=1000,
        weight_bits=8, activation_bits=8, options=mpq_onnx.EnergyOptions(("thermal",), effort="quick"),
        digital=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    assert {node.node for node in result.chosen.allocation.nodes} == {
        "q",
        "k",
        "v",
        "scores",
        "mixture",
        "out",
    }
    assert np.isfinite(result.noise_check.onnxruntime_sqnr)


def test_what_others_read_as_well_is_rounded_for_them(tmp_path: Path) -> None:
    model = onnx.load(attention(tmp_path / "m.onnx", "constant mask"))
    model.graph.node.append(helper.make_node("MatMul", ["left", "v"], ["z"], "second"))
    model.graph.output.append(helper.make_tensor_value_info("z", FLOAT, ["n", TOKENS, WIDTH]))
    onnx.save(model, tmp_path / "m.onnx")
    roles = value_roles(canonicalize(load_model(tmp_path / "m.onnx")))
    assert roles.roles["left"] is Role.SIGNAL and roles.data_readers["left"] == ("second",)
