"""Numbers beside weights and biases: looked up, added, multiplied entry by entry. Counted, and named where they stay float."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.errors import UsageError

QUICK = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False)


def weights(*shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def lookup(form: str) -> onnx.ModelProto:
    """A table of 50 rows of 8, looked up by tokens [n], and a matrix behind."""
    tensors = {"table": weights(50, 8), "w": weights(8, 4), "last": np.array([1])}
    if form == "Gather":
        nodes = [helper.make_node("Gather", ["table", "tokens"], ["rows"], "look_up")]
    elif form == "axis 1":
        tensors["table"] = tensors["table"].T.copy()
        nodes = [
            helper.make_node("Gather", ["table", "tokens"], ["columns"], "look_up", axis=1),
            helper.make_node("Transpose", ["columns"], ["rows"], "turn", perm=[1, 0]),
        ]
    else:
        nodes = [
            helper.make_node("Unsqueeze", ["tokens", "last"], ["indices"], "indices"),
            helper.make_node("GatherND", ["table", "indices"], ["rows"], "look_up"),
        ]
    nodes.append(helper.make_node("MatMul", ["rows", "w"], ["y"], "head"))
    return make_model(nodes, [("tokens", TensorProto.INT64, ["n"])], [("y", ["n", 4])], tensors)


@pytest.mark.parametrize("form", ["Gather", "GatherND", "axis 1"])
def test_a_table_is_a_table_however_it_is_looked_up(form: str, tmp_path: Path) -> None:
    onnx.save(lookup(form), tmp_path / "float.onnx")
    np.savez(tmp_path / "tokens.npz", tokens=np.random.default_rng(0).integers(0, 50, 100))
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx", f"npz:{tmp_path / 'tokens.npz'}", tmp_path / "out", weight_bits=8,
        activation_bits=8, options=QUICK,
    )  # fmt: skip
    assert result.chosen.allocation.weight_bytes == 50 * 8 + 8 * 4
    assert not [note for note in result.notes if "stay in float" in note]
    assert mpq_onnx.inspect(tmp_path / "float.onnx").weights == 50 * 8 + 8 * 4


def allocated(model: onnx.ModelProto, folder: Path) -> mpq_onnx.AllocateResult:
    """At 8 bits everywhere, on random data."""
    onnx.save(model, folder / "float.onnx")
    return mpq_onnx.allocate(
        folder / "float.onnx",
        "random?count=64",
        folder / "out",
        weight_bits=8,
        activation_bits=8,
        options=QUICK,
    )


def branched(form: str) -> tuple[onnx.ModelProto, int]:
    """A matrix, and numbers that are no weight of it; with how many they are."""
    other = weights(5, 6)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product")]
    op_type = {"added": "Add", "modulated": "Mul"}[form]
    nodes.append(helper.make_node(op_type, ["h", "other"], ["y"], "combine"))
    given, tensors = [("x", TensorProto.FLOAT, ["n", 5, 6])], {"w": weights(6, 6), "other": other}
    return make_model(nodes, given, [("y", ["n", 5, 6])], tensors), other.size


@pytest.mark.parametrize("form", ["added", "modulated"])
def test_what_stays_float_is_counted_and_named(form: str, tmp_path: Path) -> None:
    model, count = branched(form)
    result = allocated(model, tmp_path)
    assert result.chosen.allocation.weight_bytes == 36 + 4 * count
    (note,) = [note for note in result.notes if "stay in float" in note]
    assert f"other ({count} at combine" in note
    with pytest.raises(UsageError, match="smallest"):
        mpq_onnx.allocate(
            tmp_path / "float.onnx", "random?count=64", tmp_path / "limited",
            options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", max=(f"weight_bytes={4 * count}",)),
        )  # fmt: skip


def test_documents_without_such_entries_still_apply(tmp_path: Path) -> None:
    """Those of earlier versions; a width for such numbers is refused."""
    model, _ = branched("added")
    allocated(model, tmp_path)
    path = tmp_path / "out" / "allocation.json"
    document = mpq_onnx.Allocation.load(path).document()
    parameters = [entry for entry in document["nodes"] if entry["weight"] == "other"]
    assert len(parameters) == 1
    older = {**document, "nodes": [entry for entry in document["nodes"] if entry["weight"] != "other"]}
    path.write_text(json.dumps(older))
    mpq_onnx.apply(tmp_path / "float.onnx", path, tmp_path / "applied.onnx")
    found = mpq_onnx.evaluate(tmp_path / "applied.onnx", "random?count=16")
    assert found.allocation is not None and found.allocation.weight_bytes == 36 + 4 * 30
    parameters[0]["weight_bits"] = 8
    path.write_text(json.dumps(document))
    with pytest.raises(mpq_onnx.MpqOnnxError, match="can only stay in float"):
        mpq_onnx.apply(tmp_path / "float.onnx", path, tmp_path / "applied.onnx")
    found = mpq_onnx.evaluate(tmp_path / "applied.onnx", "random?count=16")
    assert found.allocation is not None and found.allocation.weight_bytes == 36 + 4 * 30


def test_a_float_weight_without_channels_counts(tmp_path: Path) -> None:
    nodes = [helper.make_node("Einsum", ["x", "v"], ["y"], "sums", equation="btc,tc->bt")]
    tensors = {"v": weights(5, 6)}
    nodes.insert(0, helper.make_node("MatMul", ["given", "w"], ["x"], "product"))
    tensors["w"] = weights(6, 6)
    model = make_model(nodes, [("given", TensorProto.FLOAT, ["n", 5, 6])], [("y", ["n", 5])], tensors)
    result = allocated(model, tmp_path)
    assert result.chosen.allocation.weight_bytes == 36 + 4 * 30
    assert len([note for note in result.notes if "stay in float" in note]) == 1


def test_two_widths_for_one_tensor_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "w"], ["y"], "second"),
    ]
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 6])], {"w": weights(6, 6)})
    allocated(model, tmp_path)
    path = tmp_path / "out" / "allocation.json"
    document = mpq_onnx.Allocation.load(path).document()
    next(entry for entry in document["nodes"] if entry["node"] == "second")["weight_bits"] = 4
    path.write_text(json.dumps(document))
    with pytest.raises(mpq_onnx.MpqOnnxError, match="one tensor has one width"):
        mpq_onnx.apply(tmp_path / "float.onnx", path, tmp_path / "applied.onnx")
