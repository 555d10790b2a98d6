"""What a tester of every command found: data that do not fit an input, messages that were not true, widths of odd counts."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.errors import DataError

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(0)


def perceptron(folder: Path) -> Path:
    tensors = {"w": weights(RNG, 8, 16), "v": weights(RNG, 16, 4)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "rectify"),
        helper.make_node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    model = make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", ["n", 4])], tensors)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def with_tokens(folder: Path, kind: int) -> Path:
    tensors = {"table": weights(RNG, 10, 6), "w": weights(RNG, 6, 3)}
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"], "look"),
        helper.make_node("MatMul", ["rows", "w"], ["y"], "product"),
    ]
    model = make_model(nodes, [("tokens", kind, ["n", 5])], [("y", ["n", 5, 3])], tensors)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32])
@pytest.mark.parametrize(
    "spoil", [lambda each: each + 0.9, lambda each: each / 10, lambda each: each + 2**32]
)
def test_numbers_that_an_input_of_whole_numbers_would_change_are_refused(
    spoil, kind: int, tmp_path: Path
) -> None:
    model = with_tokens(tmp_path, kind)
    tokens = RNG.integers(1, 10, (16, 5))
    assert mpq_onnx.evaluate(model, {"tokens": tokens.astype(np.float64)}).evaluation.examples == 16
    spoilt = spoil(tokens)
    if kind == TensorProto.INT64 and spoilt.dtype.kind == "i":
        return  # it takes them, and the table says that it has no such rows
    with pytest.raises(DataError, match="input tokens takes whole numbers"):
        mpq_onnx.evaluate(model, {"tokens": spoilt})


@pytest.mark.parametrize("scheme", ["symmetric", "symmetric-narrow", "asymmetric"])
@pytest.mark.parametrize("levels", [3, 5, 7, 10, 11, 13, 23])
def test_qonnx_holds_any_number_of_levels(levels: int, scheme: str, tmp_path: Path) -> None:
    """hand-off compares the file with its source, and writes none that computes something else."""
    model, x = perceptron(tmp_path), RNG.normal(size=(64, 8)).astype(np.float32)
    width = math.log2(levels)
    mpq_onnx.allocate(
        model, {"x": x}, tmp_path / "out", weight_bits=width + 1e-4, activation_bits=width + 1e-4,
        options=mpq_onnx.AllocateOptions(
            effort="quick", method="uniform", bit_choices=(width,), activation_bit_choices=(width,),
            weight_scheme=scheme, activation_scheme=scheme,
        ),
    )  # fmt: skip
    handed = mpq_onnx.handoff(tmp_path / "out" / "model.onnx", tmp_path / "hand", to="qonnx", data={"x": x})
    assert handed.largest_difference is not None and handed.largest_difference < 1e-5


def test_features_of_unlike_units_are_named(tmp_path: Path) -> None:
    model = perceptron(tmp_path)
    x = RNG.normal(size=(128, 8)).astype(np.float32)

    def notes(data: np.ndarray) -> str:
        found = mpq_onnx.allocate(
            model, {"x": data}, tmp_path / "out", weight_bits=8, activation_bits=8,
            options=mpq_onnx.AllocateOptions(effort="quick"), overwrite=True,
        )  # fmt: skip
        return "\n".join(found.notes)

    assert "features" not in notes(x)
    x[:, 2] *= 1e4
    assert "input x: 7 of 8 features span less than 4 steps" in notes(x)


def test_a_goal_that_no_width_reaches_is_called_so(tmp_path: Path) -> None:
    model = perceptron(tmp_path)
    np.savez(tmp_path / "d.npz", x=RNG.normal(size=(64, 8)).astype(np.float32), labels=RNG.integers(0, 4, 64))
    data = f"npz:{tmp_path / 'd.npz'}"
    arguments = (
        "search", model, "--data", data, "--test", data, "-o", tmp_path / "out", "--effort", "quick", "--min",
        "top1=0.99",
    )  # fmt: skip
    found = run_inside(*arguments)
    assert found.returncode == 1
    assert "no choice takes more" in found.stderr and "raise --to" not in found.stderr
    found = run_inside(*arguments, "--from", 2, "--to", 3, "--overwrite")
    assert found.returncode == 1 and "raise --to" in found.stderr


def test_a_factory_that_fails_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = perceptron(tmp_path)
    (tmp_path / "failing_factory.py").write_text("def make():\n    raise ValueError('no such table')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = run_inside("evaluate", model, "--data", "python:failing_factory:make")
    assert_one_line(found, 3, "the factory ended with ValueError: no such table")


def test_what_is_left_out_altogether_is_said(tmp_path: Path) -> None:
    model = perceptron(tmp_path)
    found = run_inside(
        "allocate", model, "--data", "random?count=16", "--weight-bits", 4, "--activation-bits", 8, "--exclude", "*",
        "-o", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert_one_line(found, 3, "exclude keep every weight in float")


def test_a_deviation_of_zero_is_refused(tmp_path: Path, image_file: Path, cnn_file: Path) -> None:
    found = run_inside("evaluate", cnn_file, "--data", f"npz:{image_file}?std=0,1,1", "--quiet")
    assert_one_line(found, 3, "std=0,1,1: nothing can be divided by 0")
