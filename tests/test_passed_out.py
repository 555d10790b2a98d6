"""Outputs that are no node's own: inputs and weights passed out, and what never varies, keep their names and values."""

from pathlib import Path

import numpy as np
import pytest
from conftest import weights
from onnx import TensorProto, helper
from test_outputs import saved

import mpq_onnx
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.statistics import decibels

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def passed_out(path: Path) -> Path:
    """A convolution's output, its input and its weight, and outputs that never vary, as outputs of one network."""
    rng = np.random.default_rng(0)
    tensors = {
        "w": weights(rng, 4, 3, 3, 3), "low": np.float32(100), "high": np.float32(106), "far": np.float32(-200),
        "one": np.array([0, 0, 300, 0], np.float32).reshape(1, 4, 1, 1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
        helper.make_node("Clip", ["y", "low", "high"], ["clipped"], "clip"),
        helper.make_node("Add", ["y", "far"], ["shifted"], "shift"),
        helper.make_node("Relu", ["shifted"], ["dead"], "relu"),
        helper.make_node("Sigmoid", ["shifted"], ["saturated"], "sigmoid"),
        helper.make_node("Add", ["y", "one"], ["scores"], "favour"),
        helper.make_node("ArgMax", ["scores"], ["best"], "argmax", axis=1),
    ]
    sized = ["n", 4, 4, 4]
    outputs = [
        ("y", FLOAT, sized), ("x", FLOAT, ["n", 3, 6, 6]), ("w", FLOAT, [4, 3, 3, 3]), ("clipped", FLOAT, sized),
        ("dead", FLOAT, sized), ("saturated", FLOAT, sized), ("best", INT64, ["n", 1, 4, 4]),
    ]  # fmt: skip
    return saved(path, nodes, [("x", FLOAT, ["n", 3, 6, 6])], outputs, tensors)


@pytest.mark.parametrize("placement", ["all", "gemm"])
def test_inputs_weights_and_constants_as_outputs(placement: str, tmp_path: Path) -> None:
    """They keep their names and their values, under quantizers and under noise."""
    source = passed_out(tmp_path / "source.onnx")
    mpq_onnx.export(str(source), tmp_path / "float.onnx")
    digital = mpq_onnx.allocate(
        source, "random?count=64", tmp_path / "digital", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", placement=placement),
    )  # fmt: skip
    written = [tmp_path / "float.onnx", digital.model_path]
    if placement == "all":
        noise = mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1)
        noisy = mpq_onnx.allocate_energy(
            digital.model_path, "random?count=64", tmp_path / "noisy", energy_per_mac=1e4, options=noise
        )
        written.append(noisy.model_path)
    x = np.random.default_rng(1).standard_normal((5, 3, 6, 6)).astype(np.float32)
    wanted = Runner(source, "cpu").run({"x": x})
    for path in written:
        runner = Runner(path, "cpu")
        assert list(runner.outputs) == ["y", "x", "w", "clipped", "dead", "saturated", "best"]
        found = runner.run({"x": x})
        assert (decibels((wanted[0] ** 2).sum(), ((found[0] - wanted[0]) ** 2).sum())) > 25
        for ours, theirs in zip(found[1:], wanted[1:], strict=True):
            np.testing.assert_array_equal(ours, theirs)
