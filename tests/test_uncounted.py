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
from mpq_onnx.runs.energy_options import EnergyOptions
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


def deformable() -> onnx.ModelProto:
    """A DeformConv between two Convs: 6 x 4 x 4 outputs of 4 x 3 x 3 products each."""
    nodes = [
        helper.make_node("Conv", ["x", "first_w"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Conv", ["x", "moves_w"], ["moves"], "moves", pads=[1, 1, 0, 0], strides=[2, 2]),
        helper.make_node(
            "DeformConv", ["a", "d_w", "moves"], ["d"], "bent", pads=[1, 1, 0, 0], strides=[2, 2]
        ),
        helper.make_node("Relu", ["d"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "last_w"], ["y"], "last", pads=[1] * 4),
    ]
    tensors = {
        "first_w": W0, "moves_w": weights(RNG, 18, 3, 3, 3) / 4, "d_w": weights(RNG, 6, 4, 3, 3),
        "last_w": weights(RNG, 4, 6, 3, 3),
    }  # fmt: skip
    return make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", ["n", 4, 4, 4])], tensors, opset=19
    )


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


BENT = "bent (DeformConv, its kernel moves with computed offsets, 3,456 MACs)"


def test_a_kernel_that_moves_is_left_out_of_no_share(tmp_path: Path) -> None:
    """Its weights and MACs are of the whole that the card's shares are of; it is no embedding table."""
    source = tmp_path / "model.onnx"
    onnx.save(deformable(), source)
    options = AllocateOptions(method="uniform", rounding="nearest", effort="quick", bias_correction=False)
    result = mpq_onnx.allocate(
        source, "random?count=32", tmp_path / "out", weight_bits=8, activation_bits=8, options=options
    )
    assert any("no BOPs" in note and BENT in note for note in result.notes)
    applied = mpq_onnx.apply(source, tmp_path / "out" / "allocation.json", tmp_path / "again.onnx")
    assert any(BENT in note for note in applied.notes)
    weights_of = mpq_onnx.card(result.model_path)["weights"]
    counted, macs = 108 + 486 + 216, 108 * 64 + 486 * 16 + 216 * 16
    assert weights_of["quantized layers"] == "3 of 4" and weights_of["left in float"] == "bent"
    assert weights_of["share of weights"] == pytest.approx(counted / (counted + 216))
    assert weights_of["share of MACs"] == pytest.approx(macs / (macs + 3456))
    assert weights_of["not counted"] == BENT and weights_of["embedding tables"] == "none"
    found = mpq_onnx.inspect(source)
    assert found.macs == macs and found.uncounted == (BENT,)
    assert [each.why for each in found.layers if each.node == "bent"] == ["stays float, not counted"]


def test_a_kernel_that_moves_has_no_noise_and_that_is_said(tmp_path: Path) -> None:
    source, again = tmp_path / "model.onnx", tmp_path / "again.onnx"
    onnx.save(deformable(), source)
    options = EnergyOptions(("shot",), method="uniform", effort="quick")
    result = mpq_onnx.allocate_energy(
        source, "random?count=32", tmp_path / "out", energy_per_mac=50, options=options
    )
    applied = mpq_onnx.apply_energy(source, tmp_path / "out" / "energy.json", again)
    evaluated = mpq_onnx.evaluate(result.model_path, "random?count=4", repeats=1)
    for notes in (result.notes, applied.notes, evaluated.notes):
        assert any("no noise, no energy" in note and BENT in note for note in notes)
    assert mpq_onnx.card(again)["noise"]["without noise and energy"] == BENT


def test_a_kernel_that_moves_is_refused_by_handoff_without_advice_that_cannot_help(tmp_path: Path) -> None:
    source, exported = tmp_path / "model.onnx", tmp_path / "exported.onnx"
    onnx.save(deformable(), source)
    notes = mpq_onnx.export(source, exported).notes
    assert [note for note in notes if BENT in note and "allocate counts nothing" in note]
    for path in (source, exported):
        with pytest.raises(UsageError, match="export keeps them as they are: hand off the network without"):
            mpq_onnx.handoff(path, tmp_path / "handoff", to="json")
    branches = tmp_path / "branches.onnx"
    onnx.save(branching(), source)
    mpq_onnx.export(source, branches)
    with pytest.raises(UsageError, match="export has left them as they are: give it the inputs"):
        mpq_onnx.handoff(branches, tmp_path / "handoff", to="json")
