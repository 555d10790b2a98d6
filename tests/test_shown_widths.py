"""Widths that a graph shows, read alike by hand-off, evaluate, inspect, cards and noise: both operands, rows, other tools."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model
from onnx import NodeProto, TensorProto, helper, numpy_helper

import mpq_onnx

FLOAT = TensorProto.FLOAT
QUICK = mpq_onnx.AllocateOptions(method="uniform", effort="quick")


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, shape) / np.sqrt(shape[0])).astype(np.float32)


def saved(
    path: Path,
    nodes: list[NodeProto],
    given: tuple[str, int, list[object]],
    output: list[object],
    **tensors: np.ndarray,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*given)],
        [helper.make_tensor_value_info("y", FLOAT, output)],
        [numpy_helper.from_array(each, name) for name, each in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def layers(model: object, folder: Path, data: str | None = None) -> dict[str, dict[str, object]]:
    mpq_onnx.handoff(model, folder, to="json", data=data, overwrite=True)
    return {each["name"]: each for each in json.loads((folder / "layers.json").read_text())["layers"]}


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_both_operands_of_a_product_of_activations_have_their_widths(bits: int, tmp_path: Path) -> None:
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w{name}"], [name], name) for name in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["s"], "scores"),
        helper.make_node("Mul", ["s", "c"], ["scaled"], "scale"),
        helper.make_node("Softmax", ["scaled"], ["p"], "softmax"),
        helper.make_node("MatMul", ["p", "v"], ["m"], "mixture"),
        helper.make_node("MatMul", ["m", "wo"], ["y"], "out"),
    ]
    tensors = {f"w{name}": weights(16, 16, seed=index) for index, name in enumerate("qkvo")}
    source = saved(
        tmp_path / "m.onnx", nodes, ("x", FLOAT, ["n", 6, 16]), ["n", 6, 16], c=np.float32(0.25), **tensors
    )
    result = mpq_onnx.allocate(
        source, "random?count=64", tmp_path / "out", weight_bits=4, activation_bits=bits, options=QUICK
    )
    rows = layers(result.model_path, tmp_path / "handed")
    for name in ("scores", "mixture"):
        assert (rows[name]["weight_bits"], rows[name]["input_bits"], rows[name]["output_bits"]) == (bits,) * 3
    counted = sum(row["macs"] * row["weight_bits"] * row["input_bits"] for row in rows.values())  # type: ignore[operator]
    assert counted == result.chosen.resources["bops"]


@pytest.mark.parametrize(("bits", "activation_bits", "read"), [(8, 8, 8), (4, 8, 8), (4, None, 4), (8, 4, 4)])
def test_rows_of_a_table_have_its_width(
    bits: int, activation_bits: int | None, read: int, tmp_path: Path
) -> None:
    """Where activations have a width, so have rows that were looked up."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "lookup"),
        helper.make_node("MatMul", ["e", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    source = saved(
        tmp_path / "m.onnx", nodes, ("ids", TensorProto.INT64, ["n", 6]), ["n", 6, 4], table=weights(40, 16),
        w=weights(16, 16, seed=1), v=weights(16, 4, seed=2),
    )  # fmt: skip
    data = tmp_path / "ids.npz"
    np.savez(data, ids=np.random.default_rng(0).integers(0, 40, (64, 6)))
    options = mpq_onnx.AllocateOptions(method="uniform", effort="quick", embedding_bits=bits)
    result = mpq_onnx.allocate(
        source,
        f"npz:{data}",
        tmp_path / "out",
        weight_bits=8,
        activation_bits=activation_bits,
        options=options,
    )
    rows = layers(result.model_path, tmp_path / "handed", f"npz:{data}")
    assert rows["first"]["input_bits"] == read and rows["second"]["input_bits"] == activation_bits
    if activation_bits is not None:
        counted = sum(row["macs"] * row["weight_bits"] * row["input_bits"] for row in rows.values())  # type: ignore[operator]
        assert counted == result.chosen.resources["bops"]


def narrowed(name: str, result: str) -> list[NodeProto]:
    """Integers `name` in int8, of which a Clip leaves 16."""
    return [
        helper.make_node("Clip", [name, "low", "high"], [f"{result}_clipped"], f"{result}_clip"),
        helper.make_node(
            "DequantizeLinear", [f"{result}_clipped", "step", "zero"], [result], f"{result}_back"
        ),
    ]


@pytest.mark.parametrize("stored", [True, False], ids=["stored integers", "rounded when it runs"])
def test_a_clip_says_how_many_levels_another_tools_weight_has(stored: bool, tmp_path: Path) -> None:
    step = 0.1
    weight, head = weights(8, 12), weights(12, 4, seed=1)
    tensors = {
        "step": np.float32(step), "zero": np.int8(0), "low": np.int8(-8), "high": np.int8(7), "w": weight, "v": head,
    }  # fmt: skip
    nodes: list[NodeProto] = []
    for name in "wv":
        if stored:
            tensors[name] = np.clip(np.rint(tensors[name] / step), -8, 7).astype(np.int8)
            nodes += narrowed(name, f"{name}_real")
        else:
            nodes.append(
                helper.make_node("QuantizeLinear", [name, "step", "zero"], [f"{name}_q"], f"{name}_q")
            )
            nodes += narrowed(f"{name}_q", f"{name}_real")
    nodes += [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["x_q"], "x_q"),
        *narrowed("x_q", "x_real"),
        helper.make_node("MatMul", ["x_real", "w_real"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("QuantizeLinear", ["r", "step", "zero"], ["r_q"], "r_q"),
        *narrowed("r_q", "r_real"),
        helper.make_node("MatMul", ["r_real", "v_real"], ["y"], "second"),
    ]
    source = saved(tmp_path / "m.onnx", nodes, ("x", FLOAT, ["n", 8]), ["n", 4], **tensors)
    for row in layers(source, tmp_path / "handed").values():
        assert (row["weight_bits"], row["input_bits"]) == (4, 4)
        assert row["weight_range"] == pytest.approx(15 * step)
    found = mpq_onnx.evaluate(source, "random?count=16")
    assert (found.widths.mean_weight_bits, found.widths.mean_activation_bits) == (4, 4)
    assert (found.stored.mean_weight_bits, found.stored.mean_activation_bits) == (8, 8)
    assert mpq_onnx.inspect(source).mean_weight_bits == 4
    assert mpq_onnx.card(source).to_dict()["weights"]["bits"] == "4"
    noisy = mpq_onnx.allocate_energy(
        source, "random?count=64", tmp_path / "noisy", energy_per_mac=50,
        options=mpq_onnx.EnergyOptions(("thermal",), effort="quick"),
    )  # fmt: skip
    written = onnx.load(noisy.model_path)
    ranges = [
        attribute.floats or [attribute.f]
        for node in written.graph.node
        for attribute in node.attribute
        if node.domain == "mpq_onnx.noise" and attribute.name == "weight_range"
    ]
    assert len(ranges) == 2 and all(list(each) == pytest.approx([15 * step]) for each in ranges)


@pytest.mark.parametrize("limits", [(0, 6), (-1, 1), (0, 0.5)])
@pytest.mark.parametrize("ends", [False, True])
def test_a_limit_of_the_network_is_none_of_its_quantizer(
    limits: tuple[float, float], ends: bool, tmp_path: Path
) -> None:
    """However its ends lie on levels: symmetric ones, whose zero stands in the middle, are half unused behind a ReLU6."""
    rng = np.random.default_rng(0)
    tensors = {
        "w": weights(6, 3, 3, 3),
        "v": weights(4, 6, 1, 1),
        "low": np.array(limits[0], np.float32),
        "high": np.array(limits[1], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Clip", ["a", "low", "high"], ["b"], "limits"),
        helper.make_node("Conv", ["b", "v"], ["y"], "second"),
    ]
    outputs = [("y", ["n", 4, 8, 8])]
    if ends:
        outputs.append(("b", ["n", 6, 8, 8]))
    onnx.save(make_model(nodes, [("x", FLOAT, ["n", 3, 8, 8])], outputs, tensors), tmp_path / "m.onnx")
    data = {"x": rng.normal(size=(32, 3, 8, 8)).astype(np.float32)}
    options = mpq_onnx.AllocateOptions(
        effort="quick", method="uniform", activation_scheme="symmetric", weight_scheme="symmetric"
    )
    mpq_onnx.allocate(
        tmp_path / "m.onnx", data, tmp_path / "out", weight_bits=8, activation_bits=8, options=options
    )
    model_path = tmp_path / "out" / "model.onnx"
    mpq_onnx.handoff(model_path, tmp_path / "json", to="json", data=data)
    layers = json.loads((tmp_path / "json" / "layers.json").read_text())["layers"]
    assert [(each["input_bits"], each["output_bits"]) for each in layers] == [(8, 8), (8, 8)]
    handed = mpq_onnx.handoff(model_path, tmp_path / "tensorrt", to="tensorrt", data=data)
    assert handed.largest_difference is not None
