"""Cost tables as files: read, written, interpolated; whatever the names; and what is none refused in one line."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside
from test_recurrent import batch_first_layer

import mpq_onnx
from mpq_onnx.errors import AllocationError, UsageError
from mpq_onnx.targets.cost_table import CostRow, CostTable, load_cost_table

FAST = ("--method", "water-filling", "--rounding", "nearest", "--json")
names = st.text(min_size=1).filter(lambda text: text.isascii() or text.isprintable() or "\u2028" in text)
widths = st.sampled_from([None, 2.0, 4.0, 8.0, math.inf])


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.tuples(names, widths, widths), st.floats(0, 1e20), min_size=1, max_size=8),
)
def test_a_table_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, amounts: dict) -> None:
    path = tmp_path_factory.mktemp("table") / "costs.csv"
    rows = tuple(
        CostRow(node, w, a, None, {"energy_uj": float(f"{amount:.9g}")})
        for (node, w, a), amount in amounts.items()
    )
    if any("\0" in row.node or "\ud800" <= row.node <= "\udfff" for row in rows):
        return
    CostTable(rows, ("energy_uj",), "made here").save(path)
    assert load_cost_table(path).rows == rows


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_amounts_between_rows(tmp_path: Path) -> None:
    lines = "node,weight_bits,activation_bits,x\na,2,4,1\na,2,8,3\na,4,4,2\na,4,8,6\na,float,float,50\nb,,,7\nc,2.5,8,1\n"
    found = load_cost_table(table(tmp_path / "costs.csv", lines))
    assert found.amount("x", "a", 3, 6) == pytest.approx((1 + 3 + 2 + 6) / 4)
    assert found.amount("x", "a", None, None) == 50
    assert found.amount("x", "c", math.log2(6), 8) == 1  # 2.5 bits are 6 levels
    assert found.fixed("x", {"a", "c"}) == 7
    with pytest.raises(AllocationError, match="nothing for weight_bits 5, activation_bits 4"):
        found.amount("x", "a", 5, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line must name the columns"),
        ("node\na\n", "the first line must name the columns"),
        ("node,x,x\na,1,2\n", "each once"),
        ("node,x\na,nan\n", "line 2, column x: 'nan' is no amount"),
        ("node,x\na,1e308\n", "line 2, column x"),
        ("node,x\na,-1\n", "no amount"),
        ("node,x\na,1_000\n", "no amount"),
        ("# by hand\nnode,x\na\n", "line 3: 1 cells"),
        ("node,x\n,1\n", "no node is named"),
        ("node,weight_bits,x\na,2,1\na,2.0,3\n", "two rows for weight_bits 2"),
        ("node,x\na," + "9" * 200_000 + "\n", "cannot be read"),
        ('node,x\n"a\n', "cells"),
    ],
)
def test_what_is_no_table(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(AllocationError, match=said):
        load_cost_table(table(tmp_path / "costs.csv", text))


def rows_for(document: dict, amount) -> str:
    nodes = dict.fromkeys(each["node"] for each in document["nodes"] if each["macs"])
    lines = [f"{node},{w},{a},{amount(w, a)}" for node in nodes for w in (4, 8) for a in (4, 8)]
    return "\n".join(["node,weight_bits,activation_bits,energy_uj", *lines, ""])


@pytest.mark.parametrize("kind", ["LSTM", pytest.param("GRU", marks=pytest.mark.slow)])
def test_recurrent_layers_have_rows_by_their_input(kind: str, tmp_path: Path) -> None:
    source = onnx.shape_inference.infer_shapes(batch_first_layer(kind))
    onnx.save(source, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    arguments = [
        "allocate",
        tmp_path / "float.onnx",
        "--data",
        "random?count=16",
        *FAST,
        "--bit-choices",
        "4,8",
    ]
    arguments += ["--activation-bit-choices", "4,8"]
    first = run_inside(*arguments, "--weight-bits", 8, "--activation-bits", 8, "-o", tmp_path / "first")
    assert first.returncode == 0, first.stderr
    document = json.loads((tmp_path / "first" / "allocation.json").read_text())
    costs = table(tmp_path / "costs.csv", rows_for(document, lambda w, a: w * a))
    done = run_inside(*arguments, "--costs", costs, "--max", "energy_uj=64", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["chosen"]["resources"]["energy_uj"]
    evaluated = run_inside(
        "evaluate", tmp_path / "out" / "model.onnx", "--data", "random?count=8", "--costs", costs, "--json"
    )
    assert json.loads(evaluated.stdout)["resources"]["energy_uj"] == pytest.approx(found)


@pytest.mark.slow
def test_more_bits_may_take_less(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    """No candidate breaks a limit where the table is of any shape, and equal widths may not keep it at all."""
    arguments = ["allocate", cnn_file, "--data", f"npz:{image_file}?count=32", *FAST, "--bit-choices", "4,8"]
    arguments += ["--activation-bit-choices", "4,8"]
    run_inside(*arguments, "--weight-bits", 8, "--activation-bits", 8, "-o", tmp_path / "first")
    document = json.loads((tmp_path / "first" / "allocation.json").read_text())
    count = len({each["node"] for each in document["nodes"] if each["macs"]})
    costs = table(tmp_path / "costs.csv", rows_for(document, lambda w, a: 9 if w == a else 1))
    done = run_inside(*arguments, "--costs", costs, "--max", f"energy_uj={2 * count}", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for candidate in json.loads(done.stdout)["candidates"]:
        assert candidate["resources"]["energy_uj"] <= 2 * count


@pytest.mark.slow
def test_a_sweep_sees_that_a_table_has_changed(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    result = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", *FAST, "--weight-bits", 8, "--activation-bits", 8,
        "-o", tmp_path / "first",
    )  # fmt: skip
    assert result.returncode == 0
    document = json.loads((tmp_path / "first" / "allocation.json").read_text())
    costs = table(tmp_path / "costs.csv", rows_for(document, lambda w, a: w * a))
    options = {
        "data": f"npz:{image_file}?count=32", "max": [["energy_uj=9999"]], "costs": str(costs), "method": "water-filling",
        "rounding": "nearest", "bit_choices": [4, 8], "activation_bit_choices": [4, 8],
    }  # fmt: skip
    assert mpq_onnx.sweep(cnn_file, options, tmp_path / "sweep").failed == 0
    table(costs, rows_for(document, lambda w, a: 2 * w * a))
    with pytest.raises(UsageError, match="another sweep"):
        mpq_onnx.sweep(cnn_file, options, tmp_path / "sweep")


def small(weights: dict[str, np.ndarray], nodes: list, inputs: list) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    )


@pytest.mark.parametrize("limit", ["bops=40k", "weight_bytes=100", "activation_bytes=1k"])
def test_limits_where_every_width_is_given(limit: str, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    onnx.save(
        small(
            {"w": weight},
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            [("x", TensorProto.FLOAT, ["n", 8])],
        ),
        tmp_path / "one.onnx",
    )
    done = run_inside(
        "allocate", tmp_path / "one.onnx", "--data", "random?count=8", *FAST, "--first-last", 8, "--max", limit, "-o",
        tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    resources = json.loads(done.stdout)["chosen"]["resources"]
    if limit.startswith("bops"):
        assert resources["bops"] == 8 * 6 * 8 * 8
    refused = run_inside(
        "allocate", tmp_path / "one.onnx", "--data", "random?count=8", *FAST, "--first-last", 8, "--max",
        f"{limit.partition('=')[0]}=1", "-o", tmp_path / "no",
    )  # fmt: skip
    assert_one_line(refused, 2, "cannot be reached")


def test_a_table_that_is_multiplied_too_keeps_to_the_lines_of_look_ups(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["e", "ids"], ["rows"], "look"),
        helper.make_node("MatMul", ["rows", "m"], ["h"], "mix"),
        helper.make_node("Transpose", ["e"], ["et"], "turn", perm=[1, 0]),
        helper.make_node("MatMul", ["h", "et"], ["y"], "head"),
    ]
    weights = {
        "e": rng.standard_normal((12, 8)).astype(np.float32),
        "m": rng.standard_normal((8, 8)).astype(np.float32),
    }
    onnx.save(small(weights, nodes, [("ids", TensorProto.INT64, ["n", 3])]), tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "tied.onnx")
    target = table(
        tmp_path / "t.yaml",
        "format: mpq-onnx/target\nversion: 1\nname: t\nrules:\n  - weights: [4, 8]\n  - operators: [Gather]\n    weights: 8\n",
    )
    data = tmp_path / "ids.npz"
    np.savez(data, ids=rng.integers(0, 12, (16, 3)))
    done = run_inside(
        "allocate", tmp_path / "tied.onnx", "--data", f"npz:{data}", *FAST, "--target", target, "--weight-bits", 7,
        "--activation-bits", 8, "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "allocation.json").read_text())
    (head,) = [each["weight_bits"] for each in document["nodes"] if each["weight_elements"] == 96]
    assert head == 8
