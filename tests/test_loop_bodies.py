"""Loops and scans that run as often as inputs say keep the shapes that onnxruntime wants of their bodies."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import initializer, make_model
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.passes.canonicalize import canonicalize, canonicalize_for_any_batch
from mpq_onnx.runtime.session import Runner

RNG = np.random.default_rng(7)
WEIGHT = RNG.standard_normal((8, 8)).astype(np.float32)
FLOAT = TensorProto.FLOAT


def loop(batch: int | str) -> onnx.ModelProto:
    """Turns of MatMul and Tanh, as many as an input says; the body's matrix is its own."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["s", "inner"], ["p"], "product"),
            helper.make_node("Tanh", ["p"], ["s_next"], "tanh"),
            helper.make_node("Identity", ["c"], ["c_next"], "condition"),
            helper.make_node("Cast", ["i"], ["turn"], "cast", to=FLOAT),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("s", FLOAT, [batch, 8])],
        [value("c_next", TensorProto.BOOL, []), value("s_next", FLOAT, [batch, 8]), value("turn", FLOAT, [])],
        [initializer("inner", WEIGHT)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Loop", ["turns", "go", "r"], ["z", "numbers"], "loop", body=body),
        helper.make_node("ReduceSum", ["numbers"], ["number"], "sum", keepdims=0),
        helper.make_node("MatMul", ["z", "w"], ["m"], "head"),
        helper.make_node("Add", ["m", "number"], ["y"], "add"),
    ]
    inputs = [("x", FLOAT, [batch, 8]), ("turns", TensorProto.INT64, [])]
    return make_model(nodes, inputs, [("y", [batch, 8])], {"w": WEIGHT, "go": np.array(True)})


def scan() -> onnx.ModelProto:
    """A running state over the times of [times, n, 8]."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Add", ["s", "t"], ["a"], "add_state"),
            helper.make_node("MatMul", ["a", "inner"], ["p"], "product"),
            helper.make_node("Tanh", ["p"], ["s_next"], "tanh"),
            helper.make_node("Identity", ["s_next"], ["row"], "row"),
        ],
        "body",
        [value("s", FLOAT, ["n", 8]), value("t", FLOAT, ["n", 8])],
        [value("s_next", FLOAT, ["n", 8]), value("row", FLOAT, ["n", 8])],
        [initializer("inner", WEIGHT)],
    )
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["first"], "start", axes=[0], keepdims=0),
        helper.make_node("Scan", ["first", "x"], ["last", "rows"], "scan", body=body, num_scan_inputs=1),
        helper.make_node("MatMul", ["last", "w"], ["y"], "head"),
    ]
    return make_model(nodes, [("x", FLOAT, ["times", "n", 8])], [("y", ["n", 8])], {"w": WEIGHT})


CASES = {"loop": loop("n"), "loop of one batch": loop(2), "scan": scan()}
TURNS = np.array(3)
DATA = "random?count=4&size=5"


@pytest.mark.parametrize("case", CASES)
def test_the_canonical_form_runs_and_computes_the_same(case: str) -> None:
    model = CASES[case]
    feeds = {"x": RNG.standard_normal((5, 2, 8) if case == "scan" else (2, 8)).astype(np.float32)}
    feeds |= {} if case == "scan" else {"turns": TURNS}
    (wanted,) = Runner(ir.from_proto(model), "cpu").run(feeds)
    canonical = canonicalize(ir.from_proto(model))
    for each in (canonical, canonicalize(ir.from_proto(ir.to_proto(canonical)))):
        np.testing.assert_allclose(Runner(each, "cpu").run(feeds)[0], wanted, rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_opened_is_open_in_the_body() -> None:
    found = canonicalize_for_any_batch(ir.from_proto(CASES["loop of one batch"]))
    assert found.model is not None, found.reason
    runner = Runner(found.model, "cpu")
    x = RNG.standard_normal((6, 8)).astype(np.float32)
    (whole,) = runner.run({"x": x, "turns": TURNS})
    np.testing.assert_allclose(
        np.concatenate([runner.run({"x": x[i : i + 2], "turns": TURNS})[0] for i in (0, 2, 4)]),
        whole,
        atol=1e-5,
    )


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("case", ["loop", "scan"])
def test_products_inside_are_named(case: str, named: bool, tmp_path: Path) -> None:
    """No table has a row for what runs an unknown number of times."""
    model = onnx.ModelProto()
    model.CopyFrom(CASES[case])
    if not named:
        for node in model.graph.node:
            node.name = ""
            for attribute in node.attribute:
                for inner in attribute.g.node:
                    inner.name = ""
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UsageError, match=r"cannot be handed off: \w+ \(MatMul, in a branch or loop\)"):
        mpq_onnx.handoff(tmp_path / "model.onnx", tmp_path / "out", to="json", data=DATA)
    with pytest.raises(ModelError, match=rf"op {case.title()} .* has no torch mirror"):
        mpq_onnx.allocate(tmp_path / "model.onnx", DATA, tmp_path / "out", weight_bits=8)
