"""Faults that a tester with networks of its own found, each with siblings."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import make_model, weights
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.errors import DataError
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runtime.session import Runner

RNG = np.random.default_rng(5)
QUICK = AllocateOptions(method="uniform", rounding="nearest")


def allocate(model: onnx.ModelProto, data: str, folder: Path, **options: float) -> mpq_onnx.AllocateResult:
    onnx.save(model, folder / "float.onnx")
    return mpq_onnx.allocate(
        folder / "float.onnx", data, folder / "out", weight_bits=8, activation_bits=8, options=QUICK
    )


def bytes_in(kind: int, axes: list) -> onnx.ModelProto:
    """Pixels as they are stored, normalized in the graph."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "mean"], ["c"], "centre"),
        helper.make_node("Div", ["c", "std"], ["s"], "scale"),
        helper.make_node("Conv", ["s", "w", "b"], ["h"], "conv"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["y"], "flat"),
    ]
    tensors = {
        "mean": np.full((1, 3, 1, 1), 120, np.float32), "std": np.full((1, 3, 1, 1), 60, np.float32),
        "w": weights(RNG, 6, 3, 3, 3), "b": RNG.standard_normal(6).astype(np.float32),
    }  # fmt: skip
    return make_model(nodes, [("x", kind, axes)], [("y", ["n", 6])], tensors)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT32])
def test_a_model_that_takes_bytes_gets_bytes(kind: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (96, 3, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "pixels.npz", x=pixels)
    data = f"npz:{tmp_path / 'pixels.npz'}"
    result = allocate(bytes_in(kind, ["n", 3, 8, 8]), data, tmp_path)
    stored = pixels.astype(np.uint8 if kind == TensorProto.UINT8 else np.int32)
    wanted = Runner(tmp_path / "float.onnx", "cpu").run({"x": stored})[0]
    found = Runner(result.model_path, "cpu").run({"x": stored})[0]
    assert 10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()) > 30
    with pytest.raises(DataError, match=r"takes .*int.*: scale, mean and std would be cut off"):
        mpq_onnx.evaluate(result.model_path, f"{data}?mean=0.5&std=0.25", baseline=tmp_path / "float.onnx")


@pytest.mark.parametrize("size", [0.03, 0.3])
def test_an_unsure_softmax_keeps_its_largest_probability(size: float, tmp_path: Path) -> None:
    """onnxruntime's kernel for a quantized Softmax wraps what lies above the calibrated range around to 0."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2"], ["l"], "second"),
        helper.make_node("Softmax", ["l"], ["y"], "softmax", axis=-1),
    ]
    tensors = {"w1": weights(RNG, 16, 16), "w2": weights(RNG, 16, 6) * np.float32(size)}
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 16])], [("y", ["n", 6])], tensors)
    result = allocate(model, "random?count=200", tmp_path)
    x = RNG.standard_normal((200, 16)).astype(np.float32) * 2  # beyond what was calibrated
    fast, plain = (Runner(result.model_path, "cpu", optimize).run({"x": x})[0] for optimize in (True, False))
    assert np.abs(fast - plain).max() < 0.01 * plain.max()
    assert fast.min() > 0


@pytest.mark.parametrize("form", ["vector", "vector beside logits", "scalar"])
def test_outputs_of_one_axis_or_none(form: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "v"], ["s"], "second"),
        helper.make_node("Squeeze", ["s", "axis"], ["value"], "squeeze"),
        helper.make_node("Gemm", ["r", "u"], ["logits"], "third"),
        helper.make_node("ReduceMax", ["value"], ["top"], "largest", keepdims=0),
    ]
    tensors = {
        "w": weights(RNG, 8, 16), "b": RNG.standard_normal(16).astype(np.float32), "v": weights(RNG, 16, 1),
        "u": weights(RNG, 16, 5), "axis": np.array([1], np.int64),
    }  # fmt: skip
    outputs: dict[str, list[tuple[str, list]]] = {
        "vector": [("value", ["n"])],
        "vector beside logits": [("logits", ["n", 5]), ("value", ["n"])],
        "scalar": [("top", []), ("logits", ["n", 5])],
    }
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 8])], outputs[form], tensors)
    data = "random?count=200"
    with torch.no_grad():  # as a caller's own script may have it
        result = allocate(model, data, tmp_path)
        options = mpq_onnx.EnergyOptions(("shot",), method="closed-form")
        noisy = mpq_onnx.allocate_energy(
            tmp_path / "float.onnx", data, tmp_path / "noisy", energy_per_mac=100, options=options
        )
    assert noisy.chosen.allocation.mean_energy_per_mac == pytest.approx(100)
    comparison = result.chosen.evaluation.comparison
    assert comparison is not None and len(comparison.parts) == len(outputs[form])
    if form != "scalar":
        assert comparison.output_sqnr is not None and comparison.output_sqnr > 20


@pytest.mark.parametrize("listed", [["s", "gamma", ""], ["s", "gamma"]])
def test_an_optional_input_that_is_listed_and_empty(listed: list[str], tmp_path: Path) -> None:
    """As exporters write a LayerNormalization without a bias; onnxruntime's fusion with the Add ends the process."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "dense"),
        helper.make_node("Add", ["h", "x"], ["s"], "residual"),
        helper.make_node("LayerNormalization", listed, ["n"], "norm"),
        helper.make_node("MatMul", ["n", "w"], ["d"], "second"),
        helper.make_node("Add", ["d", "n"], ["t"], "residual2"),
        helper.make_node("LayerNormalization", ["t", "gamma", ""], ["y"], "norm2"),
    ]
    tensors = {"w": weights(RNG, 16, 16), "gamma": np.ones(16, np.float32)}
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 4, 16])], [("y", ["n", 4, 16])], tensors)
    onnx.save(model, tmp_path / "model.onnx")
    found = allocate(model, "random?count=32", tmp_path)
    assert found.chosen.evaluation.comparison is not None
    assert found.chosen.evaluation.comparison.output_sqnr > 25
    for source in (tmp_path / "model.onnx", model):
        assert mpq_onnx.evaluate(source, "random?count=8", baseline=found.model_path).evaluation.examples == 8
