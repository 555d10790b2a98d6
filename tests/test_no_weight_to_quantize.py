"""Networks without a weight that can get a width: activations are quantized all the same, and it is said."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.errors import ModelError
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.options import AllocateOptions

RNG = np.random.default_rng(11)
QUICK = AllocateOptions(method="uniform", rounding="nearest")
FLOAT = TensorProto.FLOAT


def gated() -> onnx.ModelProto:
    """The constant's every axis is an axis of the data or summed over."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Einsum", ["r", "w"], ["y"], "gate", equation="btc,tc->bt"),
    ]
    tensors = {"w": RNG.standard_normal((5, 6)).astype(np.float32)}
    return make_model(nodes, [("x", FLOAT, ["n", 5, 6])], [("y", ["n", 5])], tensors)


def product() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "z"], ["y"], "product")]
    inputs = [("x", FLOAT, ["n", 5, 6]), ("z", FLOAT, ["n", 6, 5])]
    return make_model(nodes, inputs, [("y", ["n", 5, 5])], {})


def attention() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "z"], ["s"], "scores"),
        helper.make_node("Softmax", ["s"], ["a"], "softmax"),
        helper.make_node("MatMul", ["a", "x"], ["y"], "mix"),
    ]
    inputs = [("x", FLOAT, ["n", 5, 6]), ("z", FLOAT, ["n", 6, 5])]
    return make_model(nodes, inputs, [("y", ["n", 5, 6])], {})


def embedding() -> onnx.ModelProto:
    """A table, whose width is fixed, and products of what is looked up."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embedding"),
        helper.make_node("Transpose", ["e"], ["t"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["e", "t"], ["y"], "product"),
    ]
    tensors = {"table": RNG.standard_normal((20, 8)).astype(np.float32)}
    return make_model(nodes, [("ids", TensorProto.INT64, ["n", 4])], [("y", ["n", 4, 4])], tensors)


NETWORKS = {"gated": gated(), "product": product(), "attention": attention()}


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_alone_are_quantized_and_it_is_said(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(NETWORKS[name], path)
    result = mpq_onnx.allocate(
        path, "random?count=64", tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    note = next(note for note in result.notes if "activations alone are quantized" in note)
    assert ("gate (Einsum: its weight has no axis of output channels)" in note) == (name == "gated")
    assert all(node.weight_bits is None for node in result.chosen.allocation.nodes)
    assert min(result.mirror_check.optimized_sqnr, result.mirror_check.unoptimized_sqnr) > 45
    assert result.chosen.evaluation.comparison is not None
    assert 25 < result.chosen.evaluation.comparison.output_sqnr < 100


def test_weights_alone_are_refused_by_the_node_that_has_none(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(NETWORKS["gated"], path)
    with pytest.raises(ModelError, match=r"gate \(Einsum: its weight has no axis of output channels\)"):
        mpq_onnx.allocate(path, "random?count=64", tmp_path / "out", weight_bits=8, options=QUICK)
    assert not (tmp_path / "out" / "model.onnx").exists()


@pytest.mark.parametrize("method", ["uniform", "water-filling"])
def test_tables_keep_their_fixed_width_where_no_weight_has_a_choice(method: str, tmp_path: Path) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / "ids.npz"
    onnx.save(embedding(), path)
    np.savez(data, ids=RNG.integers(0, 20, (64, 4)))
    options = AllocateOptions(method=method, rounding="nearest")
    result = mpq_onnx.allocate(
        path, f"npz:{data}", tmp_path / "out", weight_bits=6, activation_bits=6, options=options
    )
    widths = {node.node: node.weight_bits for node in result.chosen.allocation.nodes if node.weight}
    assert widths == {"embedding": 8.0}


@pytest.mark.parametrize("noise", ["thermal", "weight"])
def test_noise_on_the_quantizers_of_products_of_activations(noise: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(NETWORKS["attention"], path)
    result = mpq_onnx.allocate_energy(
        path,
        "random?count=64",
        tmp_path / "out",
        energy_per_mac=10.0,
        options=EnergyOptions(noise=(noise,), method="uniform"),
        weight_bits=8,
        activation_bits=8,
        digital=QUICK,
    )
    assert [node.node for node in result.chosen.allocation.nodes] == ["scores", "mix"]
    assert any("activations alone are quantized" in note for note in result.notes)


@pytest.mark.parametrize("kept", [{"first_last": "float"}, {"exclude": ("*",)}])
def test_weights_that_options_keep_in_float_are_not_called_missing(kept: dict, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("MatMul", ["h", "v"], ["y"], "last"),
    ]
    tensors = {name: RNG.standard_normal((6, 6)).astype(np.float32) for name in "wv"}
    onnx.save(
        make_model(nodes, [("x", FLOAT, ["n", 6])], [("y", ["n", 6])], tensors), tmp_path / "float.onnx"
    )
    options = dataclasses.replace(QUICK, **kept)
    with pytest.raises(ModelError, match="first-last and exclude keep every weight in float"):
        mpq_onnx.allocate(
            tmp_path / "float.onnx", "random?count=16", tmp_path / "out", weight_bits=4, options=options
        )
