"""--max: several budgets at once, kept, spent as well as can be, and refused where nothing keeps them."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.documents.resources.terms import Term
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.live_tensors import alive_together
from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.joint import JointBudgets
from mpq_onnx.precision.joint_program import PairRule
from mpq_onnx.precision.limits import Limit
from mpq_onnx.precision.measures import MEAN_BITS
from mpq_onnx.precision.width_budgets import WidthSide
from mpq_onnx.registries import RESOURCES
from mpq_onnx.runs.limit_texts import read_limits

CHOICES = np.array([2.0, 4.0, 8.0])
FAST = ("--method", "water-filling", "--rounding", "nearest", "--json")


def side(names: str, sizes: list[int], budget: float = 8.0) -> WidthSide:
    items = WidthItems(tuple(names), (1,) * len(names), np.array(sizes), CHOICES)
    return WidthSide(items, budget, MEAN_BITS)


def products(pairs: list[tuple[str, str]], macs: list[int]) -> tuple[Term, ...]:
    return tuple(
        Term("", pair, lambda w, a, count=count: count * w * a)
        for pair, count in zip(pairs, macs, strict=True)
    )


def measured(pair: tuple[str, str], rng: np.random.Generator) -> Term:
    amounts = {(w, a): float(rng.uniform(1, 20)) for w in CHOICES for a in CHOICES}
    if rng.random() < 0.5:
        amounts[8.0, 8.0] = 10.0 ** float(rng.integers(3, 25))
    return Term("", pair, lambda w, a: amounts.get((w, a), 1e9))


def all_levels(budgets: JointBudgets):
    """Every combination of widths that keeps the limits."""
    names = {kind: each.items.names for kind, each in budgets.sides.items()}
    count = sum(map(len, names.values()))
    for chosen in itertools.product(CHOICES, repeat=count):
        precision, start = {}, 0
        for kind, own in names.items():
            precision[kind] = np.array(chosen[start : start + len(own)])
            start += len(own)
        widths = budgets.widths(precision)
        means = all(
            each.items.mean(precision[kind]) <= each.budget * (1 + 1e-9)
            for kind, each in budgets.sides.items()
        )
        rules = all(rule.allows(*(widths[name] for name in rule.tensors)) for rule in budgets.rules)
        if means and rules and all(limit.holds(widths) for limit in budgets.limits):
            yield precision


def cost(precision: dict, costs: dict) -> float:
    return sum(
        costs[kind][row, CHOICES.tolist().index(width)]
        for kind, widths in precision.items()
        for row, width in enumerate(widths)
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_program_finds_the_best_of_all_that_keep_the_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = {
        "weights": side("uvw", rng.integers(1, 50, 3).tolist(), float(rng.choice([4.0, 8.0]))),
        "activations": side("ab", rng.integers(1, 50, 2).tolist()),
    }
    pairs = [("u", "a"), ("v", "b"), ("w", "b"), ("a", "b")]
    terms = products(pairs, rng.integers(1, 9, 4).tolist())
    if seed % 3 == 0:  # a table of any shape, in which more bits may take less, and some cannot be had
        terms = tuple(measured(pair, rng) for pair in pairs)
    most = float(rng.uniform(0.8, 12)) * sum(term.amount(2.0, 2.0) for term in terms)
    stored = tuple(Term("", (name,), lambda bits, k=k: k * bits) for k, name in enumerate("uvw", 1))
    rules = (PairRule(("v", "b"), lambda w, a: w <= a),) if seed % 2 else ()
    limits = (Limit("bops", most, (terms,)), Limit("memory", float(rng.uniform(10, 60)), (stored,)))
    budgets = JointBudgets(sides, limits, {}, rules)
    costs = {
        kind: np.sort(np.exp(rng.normal(0, 4, (len(each.items.sizes), 3))), axis=1)[:, ::-1]
        for kind, each in sides.items()
    }
    possible = list(all_levels(budgets))
    if not possible:
        with pytest.raises(UsageError, match="cannot be"):
            budgets.check()
        with pytest.raises(UsageError, match="cannot be"):
            budgets.solve(costs)
        return
    budgets.check()
    found = budgets.solve(costs)
    assert any(all((found[kind] == each[kind]).all() for kind in found) for each in possible)
    best = min(cost(each, costs) for each in possible)
    assert cost(found, costs) <= best * (1 + 1e-5)


def test_channels_of_their_own_under_a_joint_limit() -> None:
    rng = np.random.default_rng(0)
    items = WidthItems(("w", "v"), (16, 8), np.full(24, 9), np.arange(2.0, 9.0))
    channels = WidthSide(items, 8.0, MEAN_BITS)
    activations = side("a", [10])
    limit = Limit("bops", 30.0, (products([("w", "a"), ("v", "a")], [1, 1]),))
    budgets = JointBudgets({"weights": channels, "activations": activations}, (limit,), {})
    costs = {
        "weights": np.exp(rng.normal(0, 3, (24, 1))) * 4.0**-items.choices,
        "activations": np.array([[0.5, 0.1, 0.0]]),
    }
    found = budgets.solve(costs)
    assert limit.holds(budgets.widths(found)) and len(set(found["weights"])) > 2
    assert limit.spent(budgets.widths(found)) > 0.9 * limit.most
    uniform = budgets.uniform(costs)
    assert limit.holds(budgets.widths(uniform)) and len(set(uniform["weights"])) == 1


def test_the_refusal_names_what_can_be_reached() -> None:
    sides = {"weights": side("w", [10]), "activations": side("a", [10])}
    stored = (Term("", ("w",), lambda bits: 10 * bits / 8),)
    joint = products([("w", "a")], [1])
    with pytest.raises(UsageError, match=r"weight_bytes=2: cannot be reached .* the smallest is 2\.5"):
        JointBudgets(sides, (Limit("weight_bytes", 2.0, (stored,)),), {}).check()
    opposed = (Term("", ("w",), lambda bits: 16 / bits),)
    both = (Limit("fast", 2.0, (opposed,)), Limit("bops", 15.0, (joint,)))
    with pytest.raises(
        UsageError, match=r"bops=15 and fast=2: cannot be kept together; the smallest bops .* is 16"
    ):
        JointBudgets(sides, both, {}).check()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("bops=2G", 2e9),
        ("weight_bytes=1MB", 1e6),
        ("weight_bytes=250kB", 250e3),
        ("energy_uj=12.5", 12.5),
        ("x=1e3", 1e3),
    ],
)
def test_amounts(text: str, amount: float) -> None:
    assert read_limits([text]) == {text.partition("=")[0]: pytest.approx(amount)}


@pytest.mark.parametrize(
    "text", ["bops", "bops=", "=3", "bops=x", "bops=-1", "bops=0", "bops=nan", "bops=1e999"]
)
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="write RESOURCE=AMOUNT"):
        read_limits([text])


def test_what_is_alive_at_once() -> None:
    """Conv a -> Relu b -> {Conv c, Conv d} -> Add e: b waits for both branches, a passes into b."""
    source = """
    <ir_version: 9, opset_import: ["" : 17]>
    g (float[1,4,8,8] x) => (float[1,4,8,8] e) {
        a = Identity(x)
        b = Relu(a)
        c = Sigmoid(b)
        d = Tanh(b)
        e = Add(c, d)
    }
    """
    import onnx

    model = ir.from_proto(onnx.parser.parse_model(source))
    assert alive_together(model, ["x", "b", "c", "d", "e"]) == (("x", "b"), ("b", "c", "d"), ("c", "d", "e"))
    assert alive_together(model, ["x", "b"]) == (("x", "b"),)


def allocate(model: Path, data: Path, folder: Path, *arguments: object) -> dict:
    done = run_inside("allocate", model, "--data", f"npz:{data}?count=64", "-o", folder, *FAST, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_limits_are_kept_and_written(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    whole = allocate(cnn_file, image_file, tmp_path / "whole", "--weight-bits", 8, "--activation-bits", 8)
    eight = whole["chosen"]["resources"]
    limits = {"bops": eight["bops"] / 4, "weight_bytes": eight["weight_bytes"] * 0.6}
    asked = [each for name, most in limits.items() for each in ("--max", f"{name}={most}")]
    found = allocate(cnn_file, image_file, tmp_path / "both", *asked)
    for candidate in found["candidates"]:
        for name, most in limits.items():
            assert candidate["resources"][name] <= most * (1 + 1e-9)
    document = json.loads((tmp_path / "both" / "allocation.json").read_text())
    assert document["limits"] == pytest.approx(limits)
    # recounted from the file's own document
    allocation = mpq_onnx.load_document(tmp_path / "both" / "allocation.json")
    assert allocation.bit_operations == pytest.approx(found["chosen"]["resources"]["bops"])
    assert allocation.weight_bytes == math.ceil(found["chosen"]["resources"]["weight_bytes"])
    again = run_inside(
        "allocate",
        cnn_file,
        "--config",
        tmp_path / "both" / "config.yaml",
        "-o",
        tmp_path / "again",
        "--json",
    )
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "both" / "model.onnx").read_bytes()


@pytest.mark.parametrize("method", ["uniform", "gradient", "refined"])
def test_every_method_keeps_a_limit(method: str, cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    found = allocate(
        cnn_file, image_file, tmp_path, "--max", "activation_bytes=1.5k", "--max", "bops=1M", "--method", method,
        "--steps", 3, "--granularity", "channel",
    )  # fmt: skip
    for candidate in found["candidates"]:
        assert candidate["resources"]["activation_bytes"] <= 1500 * (1 + 1e-9)
        assert candidate["resources"]["bops"] <= 1e6 * (1 + 1e-9)


def write_table(path: Path, nodes: list[str], widths: tuple[int, ...] = (2, 8)) -> None:
    lines = ["# by hand", "node,weight_bits,activation_bits,latency_ms,energy_uj"]
    for index, node in enumerate(nodes, 1):
        lines += [f"{node},{w},{a},{index * max(w, a)},{index * w * a}" for w in widths for a in widths]
    path.write_text("\n".join([*lines, "*rest*,,,1.5,2", ""]))


def test_a_cost_table_bounds_what_its_columns_say(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    entries = json.loads(
        json.dumps(
            allocate(cnn_file, image_file, tmp_path / "first", "--weight-bits", 8, "--activation-bits", 8)
        )
    )
    document = json.loads((tmp_path / "first" / "allocation.json").read_text())
    nodes = [each["node"] for each in document["nodes"] if each["macs"]]
    table = tmp_path / "costs.csv"
    write_table(table, nodes)
    assert "latency_ms" not in entries["chosen"]["resources"]
    asked = ("--costs", table, "--max", "energy_uj=400", "--max", "latency_ms=70")
    found = allocate(cnn_file, image_file, tmp_path / "out", *asked)
    widths = mpq_onnx.load_document(tmp_path / "out" / "allocation.json").widths()
    out = json.loads((tmp_path / "out" / "allocation.json").read_text())
    energy = 2.0 + sum(
        index * widths[each["weight"]] * widths[each["input"]]
        for index, each in enumerate((each for each in out["nodes"] if each["macs"]), 1)
    )
    assert found["chosen"]["resources"]["energy_uj"] == pytest.approx(energy)
    evaluated = run_inside(
        "evaluate", tmp_path / "out" / "model.onnx", "--data", f"npz:{image_file}?count=32", "--costs", table, "--json",
        "--max", "energy_uj=1", "--max", "bops=1G",
    )  # fmt: skip
    assert evaluated.returncode == 1 and "gate failed: energy_uj" in evaluated.stderr
    assert json.loads(evaluated.stdout)["resources"]["energy_uj"] == pytest.approx(energy)
    assert energy <= 400 and found["chosen"]["resources"]["latency_ms"] <= 70


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--max", "bops=10"], 2, "bops=10: cannot be reached with these choices; the smallest is"),
        (["--max", "energy_uj=10"], 2, "there is weight_bytes, activation_bytes, bops; others are columns"),
        (["--max", "bops=1", "--max", "bops=2"], 2, "has a limit already"),
        (["--max", "energy_uj=10", "--costs", "missing.csv"], 3, "cannot be read"),
    ],
)
def test_what_is_refused_before_any_work(
    arguments: list[str], code: int, said: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    done = run_inside(
        "allocate",
        cnn_file,
        "--data",
        f"npz:{image_file}?count=32",
        "-o",
        tmp_path / "out",
        *FAST,
        *arguments,
    )
    assert_one_line(done, code, said)
    assert "calibrate" not in done.stderr and not (tmp_path / "out").exists()


def test_a_table_of_another_model_is_refused(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    for nodes, said in ((["other"], "another model"), ([], "no row for node")):
        write_table(tmp_path / "costs.csv", nodes)
        done = run_inside(
            "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "-o", tmp_path / "out", *FAST,
            "--max", "energy_uj=10", "--costs", tmp_path / "costs.csv",
        )  # fmt: skip
        assert_one_line(done, 3, said)


def test_every_resource_is_counted(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    found = allocate(
        cnn_file, image_file, tmp_path, "--weight-bits", 4, "--activation-bits", 8, "--method", "uniform"
    )
    assert set(found["chosen"]["resources"]) == set(RESOURCES)


def test_a_search_minimizes_a_resource(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    def search(*arguments: object):
        return run_inside(
            "search", cnn_file, "--data", f"npz:{image_file}?count=64", "--test", f"npz:{image_file}", "-o",
            tmp_path / "search", "--min", "agreement=0.8", "--tolerance", 0.5, *FAST, *arguments,
        )  # fmt: skip

    done = search("--minimize", "bops")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    budgets = [probe["budget"] for probe in found["probes"]]
    assert found["best"]["reached"] and found["best"]["budget"] == min(
        probe["budget"] for probe in found["probes"] if probe["reached"]
    )
    for budget in budgets:
        result = json.loads((tmp_path / "search" / "probes" / f"{budget:.6g}" / "result.json").read_text())
        assert result["chosen"]["resources"]["bops"] <= budget * (1 + 1e-9)
    again = search("--config", tmp_path / "search" / "config.yaml")
    assert json.loads(again.stdout)["best"] == found["best"]
    refused = search("--minimize", "bops", "--max", "bops=1G")
    assert_one_line(refused, 2, "is what the search finds")
    refused = search("--minimize", "latency_ms")
    assert_one_line(refused, 2, "others are columns of a table")


PAIRED = """
format: mpq-onnx/target
version: 1
name: paired
rules:
  - operators: [Conv, Gemm]
    weights: {bits: [4, 8]}
    inputs: [4, 8]
    pairs: [W4A4, W8A8]
"""


@pytest.mark.parametrize("granularity", ["layer", "channel"])
def test_widths_that_a_target_pairs_are_chosen_together(
    granularity: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "paired.yaml").write_text(PAIRED)
    asked = ("--target", tmp_path / "paired.yaml", "--granularity", granularity, "--bit-choices", "4,8")
    found = allocate(
        cnn_file, image_file, tmp_path / "out", *asked, "--weight-bits", 6, "--activation-bits", 7
    )
    allocation = mpq_onnx.load_document(tmp_path / "out" / "allocation.json")
    widths = allocation.widths()
    pairs = {(widths[each.weight], widths[each.input]) for each in allocation.nodes if each.macs}
    assert pairs <= {(4.0, 4.0), (8.0, 8.0)} and found["chosen"]["allocation"]["mean_weight_bits"] <= 6
    # A cost table needs rows for what may meet alone, and the document says what was asked for.
    nodes = [each.node for each in allocation.nodes if each.macs]
    lines = ["node,weight_bits,activation_bits,energy_uj"]
    lines += [f"{node},{width},{width},{width * width}" for node in nodes for width in (4, 8)]
    (tmp_path / "costs.csv").write_text("\n".join(lines) + "\n")
    table = ("--costs", tmp_path / "costs.csv", "--max", f"energy_uj={len(nodes) * 40}")
    limited = allocate(cnn_file, image_file, tmp_path / "table", *asked, *table)
    assert limited["chosen"]["resources"]["energy_uj"] <= len(nodes) * 40
    assert json.loads((tmp_path / "table" / "allocation.json").read_text())["budget"] == {}
    card = json.loads((tmp_path / "table" / "card.json").read_text())
    assert card["budget"]["limits"] == {"energy_uj": len(nodes) * 40}
    refused = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "-o", tmp_path / "no", *FAST, *asked,
        "--weight-bits", 8, "--activation-bits", 8, "--max", "bops=10",
    )  # fmt: skip
    assert_one_line(refused, 2, "bops=10: cannot be reached")
