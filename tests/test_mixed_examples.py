"""Networks whose answer for an example hangs on the others in its batch, or that hold the batch size: both are said."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic

import mpq_onnx

W = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


def network(mixing: str) -> onnx.ModelProto:
    mixed = {
        "none": [helper.make_node("Relu", ["x"], ["h"], "relu")],
        "softmax": [helper.make_node("Softmax", ["x"], ["h"], "softmax", axis=0)],
        "cumulative": [helper.make_node("CumSum", ["x", "first"], ["h"], "sum")],
        "mean": [
            helper.make_node("ReduceMean", ["x"], ["m"], "mean", axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["h"], "centred"),
        ],
    }
    tensors = {"w": W, "first": np.array(0)}
    nodes = [*mixed[mixing], helper.make_node("MatMul", ["h", "w"], ["y"], "product")]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 3])], tensors)


@pytest.mark.parametrize("mixing", ["none", "softmax", "cumulative", "mean"])
def test_what_mixes_the_examples_of_a_batch_is_said(mixing: str, tmp_path: Path) -> None:
    onnx.save(network(mixing), tmp_path / "float.onnx")
    found = mpq_onnx.evaluate(tmp_path / "float.onnx", "random?count=20")
    assert any("others in its batch" in note for note in found.notes) == (mixing != "none")


def test_ranges_of_a_whole_batch_are_said(tmp_path: Path) -> None:
    onnx.save(network("none"), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    found = mpq_onnx.evaluate(tmp_path / "dynamic.onnx", "random?count=20", baseline=tmp_path / "float.onnx")
    assert any("over all examples of a batch" in note for note in found.notes)


def test_what_hangs_on_the_number_of_examples_is_said(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        helper.make_node("Shape", ["x"], ["examples"], "examples", start=0, end=1),
        helper.make_node("Cast", ["examples"], ["count"], "count", to=TensorProto.FLOAT),
        helper.make_node("Div", ["h", "count"], ["y"], "share"),
    ]
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 3])], {"w": W})
    onnx.save(model, tmp_path / "float.onnx")
    found = mpq_onnx.evaluate(tmp_path / "float.onnx", "random?count=20")
    assert any("others in its batch" in note for note in found.notes)


def test_noise_is_no_mixing(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    options = mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1)
    result = mpq_onnx.allocate_energy(
        cnn_file, f"npz:{image_file}?count=32", tmp_path, energy_per_mac=3.0, options=options
    )
    found = mpq_onnx.evaluate(result.model_path, f"npz:{image_file}?count=32", repeats=2)
    assert not any("others in its batch" in note for note in found.notes)


def test_a_batch_that_is_squeezed_away(tmp_path: Path) -> None:
    """Its examples go through the network one by one; the widths are those of the same network with an open batch."""
    found = []
    for squeezes in (True, False):
        nodes = [
            helper.make_node("Squeeze" if squeezes else "Identity", ["x"], ["row"], "squeeze"),
            helper.make_node("MatMul", ["row", "w"], ["h"], "product"),
            helper.make_node("Relu", ["h"], ["y"], "relu"),
        ]
        shape, out = ([1, 6], [3]) if squeezes else (["n", 6], ["n", 3])
        model = make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", out)], {"w": W})
        path = tmp_path / f"{squeezes}.onnx"
        onnx.save(model, path)
        result = mpq_onnx.allocate(
            path, "random?count=64", tmp_path / f"out{squeezes}", weight_bits=4, activation_bits=8,
            options=mpq_onnx.AllocateOptions(effort="quick"),
        )  # fmt: skip
        comparison = result.chosen.evaluation.comparison
        assert comparison is not None
        found.append((result.chosen.resources, comparison.output_sqnr))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], abs=0.5)
