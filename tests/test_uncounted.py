"""Multiply-accumulates out of reach are named: by allocate, by the card, and by hand-off, which refuses them."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.graph.uncounted import uncounted_macs
from mpq_onnx.mirror import build_mirror
from mpq_onnx.runs.options import AllocateOptions

RNG = np.random.default_rng(0)
W0, W1, W2 = weights(RNG, 4, 3, 3, 3), weights(RNG, 6, 4, 3, 3), weights(RNG, 6, 4, 3, 3)


def branching() -> onnx.ModelProto:
    """A Conv, then one of two Convs by the sign of the input's mean."""

    def branch(name: str, weight: np.ndarray) -> onnx.GraphProto:
        node = helper.make_node("Conv", ["c", f"{name}_w"], [name], f"{name}_conv", pads=[1] * 4)
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([node], name, [], [output], [numpy_helper.from_array(weight, f"{name}_w")])

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], "stem", pads=[1] * 4),
        helper.make_node("ReduceMean", ["x"], ["m"], "mean", keepdims=0),
        helper.make_node("Greater", ["m", "zero"], ["sign"], "compare"),
        helper.make_node(
            "If", ["sign"], ["i"], "choose", then_branch=branch("yes", W1), else_branch=branch("no", W2)
        ),
        helper.make_node("GlobalAveragePool", ["i"], ["y"], "pool"),
    ]
    tensors = {"w0": W0, "zero": np.float32(0)}
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", ["n", 6, 1, 1])], tensors)


def in_a_function() -> onnx.ModelProto:
    """A MatMul inside a function that the model calls twice."""
    function = helper.make_function(
        "local", "Dense", ["a", "b"], ["c"], [helper.make_node("MatMul", ["a", "b"], ["c"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Dense", ["x", "w"], ["h"], "first", domain="local"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Dense", ["r", "w"], ["y"], "second", domain="local"),
    ]
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 5])], [("y", ["n", 5])], {"w": weights(RNG, 5, 5)}
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def test_branches_and_other_operator_sets_are_found() -> None:
    found = uncounted_macs(ir.from_proto(branching()))
    assert sorted(each.node for each in found) == ["no_conv", "yes_conv"]
    fused = helper.make_node("FusedMatMul", ["x", "w"], ["y"], "fused", domain="com.microsoft")
    model = make_model(
        [fused], [("x", TensorProto.FLOAT, ["n", 5])], [("y", ["n", 5])], {"w": weights(RNG, 5, 5)}
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert [each.node for each in uncounted_macs(ir.from_proto(model))] == ["fused"]
    assert [each.op_type for each in uncounted_macs(ir.from_proto(in_a_function()))] == ["MatMul"]
    integers = helper.make_node("MatMulInteger", ["a", "b"], ["c"], "integers")
    assert [each.node for each in uncounted_macs(ir.from_proto(make_model([integers], [], [], {})))] == [
        "integers"
    ]


def test_a_branch_that_is_not_mirrored_names_the_remedy() -> None:
    with pytest.raises(
        ModelError, match=r"op If .* of node choose has no torch mirror; .*export --set NAME=VALUE"
    ):
        build_mirror(ir.from_proto(branching()), "branching.onnx")


def test_branches_are_named_by_every_command(tmp_path: Path) -> None:
    path = tmp_path / "branching.onnx"
    onnx.save(branching(), path)
    with pytest.raises(UsageError, match=r"yes_conv \(Conv, in a branch or loop\)"):
        mpq_onnx.handoff(path, tmp_path / "handoff", to="json")
    assert "yes_conv" in mpq_onnx.card(path)["weights"]["not counted"]


def test_what_functions_hold_is_counted_where_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "function.onnx"
    onnx.save(in_a_function(), path)
    mpq_onnx.handoff(path, tmp_path / "handoff", to="csv")
    rows = (tmp_path / "handoff" / "layers.csv").read_text().splitlines()[1:]
    assert len(rows) == 2 and len({row.split(",")[0] for row in rows}) == 2
    options = AllocateOptions(method="uniform", rounding="nearest")
    result = mpq_onnx.allocate(path, "random?count=64", tmp_path / "out", weight_bits=8, options=options)
    assert sum(node.macs for node in result.chosen.allocation.nodes) == 50
    assert not [note for note in result.notes if "float" in note]


def test_a_weight_that_stays_float_is_said(tmp_path: Path) -> None:
    """An Einsum whose weight has no axis of output channels."""
    nodes = [
        helper.make_node("Einsum", ["x", "v"], ["s"], "scores", equation="ntk,k->nt"),
        helper.make_node("Gemm", ["s", "w"], ["y"], "dense"),
    ]
    tensors = {"v": RNG.standard_normal(5).astype(np.float32), "w": weights(RNG, 4, 3)}
    path = tmp_path / "model.onnx"
    onnx.save(make_model(nodes, [("x", TensorProto.FLOAT, ["n", 4, 5])], [("y", ["n", 3])], tensors), path)
    options = AllocateOptions(method="uniform", rounding="nearest")
    result = mpq_onnx.allocate(
        path, "random?count=64", tmp_path / "out", weight_bits=4, activation_bits=8, options=options
    )
    assert any("scores (Einsum: " in note and "32 bits" in note for note in result.notes)
    assert result.chosen.allocation.bit_operations == 20 * 32 * 8 + 12 * 4 * 8
