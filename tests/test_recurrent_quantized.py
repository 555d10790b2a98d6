"""Recurrent layers from allocation to file: two weights a node, counted by hand; onnxruntime agrees with the mirror."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.report.graph_facts import graph_facts

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
TIME, WIDTH, HIDDEN, CLASSES = 6, 5, 4, 3


def network(op: str, directions: int = 1, peepholes: bool = False) -> onnx.ModelProto:
    """Batch-first sequences through a recurrent layer, the last states side by side into a classifier."""
    rng = np.random.default_rng(0)
    rows = GATES[op] * HIDDEN

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    tensors = {
        "w": normal(directions, rows, WIDTH),
        "r": normal(directions, rows, HIDDEN),
        "b": normal(directions, 2 * rows),
        "p": normal(directions, 3 * HIDDEN),
        "fc": normal(directions * HIDDEN, CLASSES),
        "flat": np.array([0, directions * HIDDEN], np.int64),
    }
    inputs = ["xt", "w", "r", "b"] + (["", "", "", "p"] if peepholes else [])
    if not peepholes:
        del tensors["p"]
    direction = {1: "forward", 2: "bidirectional"}[directions]
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], "time_first", perm=[1, 0, 2]),
        helper.make_node(op, inputs, ["", "h"], "cell", hidden_size=HIDDEN, direction=direction),
        helper.make_node("Transpose", ["h"], ["ht"], "batch_first", perm=[1, 0, 2]),
        helper.make_node("Reshape", ["ht", "flat"], ["state"], "join"),
        helper.make_node("MatMul", ["state", "fc"], ["y"], "classifier"),
    ]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", TIME, WIDTH])], [("y", ["n", CLASSES])], tensors)


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sequences") / "x.npz"
    np.savez(path, x=np.random.default_rng(1).standard_normal((96, TIME, WIDTH)).astype(np.float32))
    return path


def allocate(model: onnx.ModelProto, data: Path, folder: Path, *options: object) -> dict:
    """The result of `allocate` at W5A8."""
    onnx.save(model, folder / "float.onnx")
    result = run_inside(
        "allocate", folder / "float.onnx", "--data", f"npz:{data}", "--weight-bits", 5, "--activation-bits", 8,
        "-o", folder / "out", "--method", "water-filling", "--json", *options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("op", "directions", "peepholes"),
    [("LSTM", 1, False), ("LSTM", 2, True), ("GRU", 1, False), ("GRU", 2, False), ("RNN", 2, False)],
)
def test_both_weights_are_sites_with_macs_by_hand(op: str, directions: int, peepholes: bool) -> None:
    model = ir.from_proto(network(op, directions, peepholes))
    shapes = {
        "x": (1, TIME, WIDTH), "xt": (TIME, 1, WIDTH), "h": (directions, 1, HIDDEN), "ht": (1, directions, HIDDEN),
        "state": (1, directions * HIDDEN), "y": (1, CLASSES),
    }  # fmt: skip
    sites = {site.tensor: site for site in find_sites(model, shapes).weights}
    rows = GATES[op] * HIDDEN
    macs = {name: [use.macs for use in site.uses] for name, site in sites.items()}
    assert macs == {
        "w": [TIME * directions * rows * WIDTH],
        "r": [TIME * directions * rows * HIDDEN],
        "fc": [directions * HIDDEN * CLASSES],
    }
    assert (sites["w"].channel_axis, sites["r"].channel_axis) == (1, 1)
    assert sites["w"].source == "x"
    assert sites["r"].source is None  # the state is float inside the kernel, whatever its readers see
    ends = find_sites(model, shapes, first_last="8").weights
    assert [site.fixed_bits for site in ends] == [8, 8, 8]


@pytest.mark.parametrize(
    ("op", "directions", "options"),
    [
        ("LSTM", 1, ()),
        ("LSTM", 2, ("--granularity", "channel", "--storage", "packed")),
        ("GRU", 1, ("--storage", "packed", "--weight-scheme", "symmetric-narrow")),
        ("RNN", 2, ("--weight-scales", "tensor")),
    ],
)
def test_files_hold_both_weights_as_integers(
    op: str, directions: int, options: tuple[str, ...], sequences: Path, tmp_path: Path
) -> None:
    result = allocate(network(op, directions), sequences, tmp_path, "--rounding", "nearest", *options)
    assert min(float(result["mirror_check"][f"{each}_sqnr"]) for each in ("optimized", "unoptimized")) > 40
    document = json.loads((tmp_path / "out" / "allocation.json").read_text())
    assert {entry["weight"] for entry in document["nodes"] if entry["weight"]} == {"w", "r", "fc"}
    assert document["achieved"]["weight_bits"] <= 5
    assert any(f"cell ({op})" in note for note in result["notes"])
    facts = graph_facts(load_model(tmp_path / "out" / "model.onnx")).layers
    assert [layer.op_type for layer in facts] == [op, op, "MatMul"]
    assert all(layer.weight is not None for layer in facts)


def test_handoff_has_a_row_for_each_weight(sequences: Path, tmp_path: Path) -> None:
    allocate(network("LSTM"), sequences, tmp_path, "--rounding", "nearest")
    done = run_inside(
        "handoff",
        tmp_path / "out" / "model.onnx",
        "--to",
        "json",
        "--data",
        f"npz:{sequences}",
        "-o",
        tmp_path / "to",
    )
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "to" / "layers.json").read_text())
    rows = table["layers"]
    assert [(row["name"], row["op"]) for row in rows[:2]] == [("cell", "LSTM")] * 2
    assert [row["fan_in"] for row in rows] == [WIDTH, HIDDEN, HIDDEN]
    assert [row["parameters"] for row in rows] == [16 * WIDTH + 32, 16 * HIDDEN, HIDDEN * CLASSES]
    assert table["macs"] == TIME * 16 * (WIDTH + HIDDEN) + HIDDEN * CLASSES
    refused = run_inside(
        "handoff",
        tmp_path / "out" / "model.onnx",
        "--to",
        "timeloop",
        "--data",
        f"npz:{sequences}",
        "-o",
        tmp_path / "t",
    )
    assert_one_line(refused, 2, "LSTM", "cell")


def test_noise_of_a_recurrent_layer_is_refused_by_name(sequences: Path, tmp_path: Path) -> None:
    onnx.save(network("GRU"), tmp_path / "float.onnx")
    refused = run_inside(
        "allocate", tmp_path / "float.onnx", "--data", f"npz:{sequences}", "--noise", "shot", "--energy-per-mac", 10,
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert_one_line(refused, 3, "cell (GRU)", "noise")
    assert not (tmp_path / "out").exists()
