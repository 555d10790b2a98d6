"""Widths given for some nodes: in the file, the budget, the baseline, the card, apply; and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from test_cli import assert_one_line, run_inside

from mpq_onnx.arithmetic.overrides import Override, read_overrides
from mpq_onnx.errors import UsageError
from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.measures import MEAN_BITS
from mpq_onnx.precision.width_budgets import WidthSide

FAST = ("--rounding", "nearest", "--steps", 2, "--rounding-examples", 32)


def allocate(model: Path, data: Path, folder: Path, *arguments: object) -> dict:
    """result.json."""
    done = run_inside(
        "allocate", model, "--data", f"npz:{data}?count=64", "-o", folder, "--json", *FAST, *arguments
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def entries(folder: Path) -> dict[str, dict]:
    document = json.loads((folder / "allocation.json").read_text())
    return {entry["node"]: entry for entry in document["nodes"]}


def integer_weights(path: Path) -> dict[str, int]:
    """By multiply-accumulate node: distinct levels of its stored weight; 0 where that is float."""
    proto = onnx.load(path)
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    producers = {name: node for node in proto.graph.node for name in node.output}
    found = {}
    for node in proto.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            maker = producers.get(node.input[1])
            rows = constants[maker.input[0]].astype(np.int64) if maker is not None else None
            found[node.name] = 0 if rows is None else int(rows.max() - rows.min()) + 1
    return found


@pytest.fixture
def names(cnn_file: Path) -> list[str]:
    return [node.name for node in onnx.load(cnn_file).graph.node if node.op_type in ("Conv", "Gemm")]


def test_widths_by_name_wildcard_and_operator(
    names: list[str], cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    first = names[0]
    result = allocate(
        cnn_file, image_file, tmp_path, "--weight-bits", 4, "--activation-bits", 6, "--method", "water-filling",
        "--override", f"{first}:weights=7,activations=3|4", "--override", "Gemm:weights=8", "--keep-candidates",
    )  # fmt: skip
    found = entries(tmp_path)
    behind = next(entry for entry in found.values() if entry["op_type"] == "Relu")  # the first layer's
    assert found[first]["weight_bits"] == 7 and behind["activation_bits"] in (3, 4)
    assert all(entry["weight_bits"] == 8 for entry in found.values() if entry["op_type"] == "Gemm")
    achieved = result["chosen"]["allocation"]
    assert achieved["mean_weight_bits"] <= 4 and achieved["mean_activation_bits"] <= 6
    uniform = result["uniform"]["allocation"]
    assert uniform["mean_weight_bits"] <= 4 + 1e-9
    levels = integer_weights(tmp_path / "candidates" / "uniform.onnx")
    given = {first, *(name for name, entry in found.items() if entry["op_type"] == "Gemm")}
    others = {count for name, count in levels.items() if name not in given}
    assert max(others) <= 16 < min(levels[name] for name in given)
    assert integer_weights(tmp_path / "model.onnx")[first] > 2**5
    card = json.loads((tmp_path / "card.json").read_text())
    assert first in card["weights"]["overrides"] and "Gemm:weights=8" in card["weights"]["overrides"]
    again = tmp_path / "again.onnx"
    applied = run_inside(
        "apply", cnn_file, tmp_path / "allocation.json", "-o", again, "--data", f"npz:{image_file}?count=64"
    )
    assert applied.returncode == 0, applied.stderr
    assert integer_weights(again) == integer_weights(tmp_path / "model.onnx")


def test_excluded_nodes_stay_float(
    names: list[str], cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    allocate(
        cnn_file, image_file, tmp_path, "--weight-bits", 4, "--activation-bits", 6, "--exclude", names[-1],
        "--granularity", "channel", "--method", "gradient",
    )  # fmt: skip
    assert integer_weights(tmp_path / "model.onnx")[names[-1]] == 0
    assert entries(tmp_path)[names[-1]]["weight_bits"] is None
    card = json.loads((tmp_path / "card.json").read_text())
    assert names[-1] in card["weights"]["left in float"]
    assert f"{names[-1]}: float" in card["weights"]["overrides"]


def test_a_configuration_and_a_sweep_hold_overrides(
    names: list[str], cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    import mpq_onnx

    options = ("--weight-bits", 4, "--method", "uniform", "--override", f"{names[0]}:weights=6")
    allocate(cnn_file, image_file, tmp_path / "one", *options)
    text = (tmp_path / "one" / "config.yaml").read_text()
    done = run_inside(
        "allocate", cnn_file, "--config", tmp_path / "one" / "config.yaml", "-o", tmp_path / "two", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two" / "allocation.json").read_bytes() == (
        tmp_path / "one" / "allocation.json"
    ).read_bytes()
    assert f"{names[0]}:weights=6" in text
    swept = mpq_onnx.sweep(
        cnn_file,
        {
            "data": f"npz:{image_file}?count=64", "weight_bits": 4, "rounding": "nearest", "method": "uniform",
            "override": [[], [f"{names[0]}:weights=6"]],
        },
        tmp_path / "sweep",
    )  # fmt: skip
    assert swept.failed == 0
    widths = [
        entries(tmp_path / "sweep" / "runs" / row["run"])[names[0]]["weight_bits"] for row in swept.rows
    ]
    assert widths == [4, 6]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--override", "stem"], "write NODE:weights=8"),
        (["--override", "stem:weights=x"], "'x' is no width"),
        (["--override", "stem:weights=99"], "not a width from 0 to 16"),
        (["--override", "stem:activations=0"], "not a width from 1 to 16"),
        (["--override", "stem:weights=4,weights=5"], "write NODE"),
        (["--override", "nothing:weights=4"], "override nothing: no node of that name or operator"),
        (["--exclude", "nothing"], "exclude nothing: no node of that name or operator"),
        (["--override", "*:weights=8"], "cannot be reached with these overrides; the smallest is 8"),
    ],
)
def test_what_is_refused(
    arguments: list[str], said: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "-o", tmp_path / "out", "--weight-bits", 4,
        *FAST, *arguments,
    )  # fmt: skip
    assert_one_line(done, 2, said)
    assert not (tmp_path / "out").exists()


def test_texts_are_read() -> None:
    (one, two) = read_overrides(["a:b/c:weights=4|8,activations=float"], ["x*"])
    assert one == Override("a:b/c", (4.0, 8.0), ()) and two == Override("x*", (), ())
    assert (
        two.matches("xyz", "Conv")
        and not one.matches("xyz", "Conv")
        and Override("Conv").matches("q", "Conv")
    )
    with pytest.raises(UsageError):
        read_overrides([":weights=4"], [])


sides = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 100), min_size=n, max_size=n),
        st.lists(st.sampled_from([None, (2,), (8,), (4, 8), (2, 16)]), min_size=n, max_size=n),
        st.floats(2, 16),
    )
)


@settings(max_examples=200, deadline=None)
@given(sides)
def test_the_baseline_keeps_the_budget_and_spends_it(
    side: tuple[list[int], list[tuple[int, ...] | None], float],
) -> None:
    sizes, own, budget = side
    common = (2, 3, 4, 8)
    everything = np.unique([*common, *(width for each in own for width in each or ())]).astype(float)
    allowed = np.array([np.isin(everything, each or common) for each in own])
    items = WidthItems(
        tuple(map(str, range(len(sizes)))), (1,) * len(sizes), np.array(sizes), everything, allowed,
        np.array([each is not None for each in own]),
    )  # fmt: skip
    measured = WidthSide(items, budget, MEAN_BITS)
    if measured.least > budget:
        return
    for widths in (measured.uniform(), measured.allowed_below(measured.uniform())):
        assert items.mean(widths) <= budget * (1 + 1e-9)
        for width, each in zip(widths, own, strict=True):
            assert each is None or width in each
    uniform = measured.uniform()
    free = uniform[~items.own]
    assert len(set(free)) <= 1
    if len(free) and round(2.0 ** free[0]) < 2 ** int(min(budget, 16)) and free[0] < everything[-1]:
        more = np.where(items.own, uniform, math.log2(round(2.0 ** free[0]) + 1))
        assert items.mean(np.where(items.own, measured.allowed_below(more), more)) > budget
