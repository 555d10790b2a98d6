"""--max with --noise: energies per MAC under a limit on what a cost table says that the device takes for them."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.arithmetic.noise.energy_levels import ANY, REPEATS
from mpq_onnx.precision.energy_prices import EnergyPrices, PricedEnergySide, PricedLimit
from mpq_onnx.precision.items import Items

ENERGIES = (1, 10, 100, 1000)


def price(index: int, energy: float) -> float:
    """A converter whose bits grow with the logarithm, and a laser."""
    return index * (1.0 + 0.5 * math.log10(energy) + 0.01 * energy)


def write_table(path: Path, model: Path) -> list[str]:
    nodes = [node.name for node in onnx.load(model).graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    lines = ["node,energy_per_mac,energy_uj"]
    lines += [
        f"{node},{energy},{price(at, energy)}" for at, node in enumerate(nodes, 1) for energy in ENERGIES
    ]
    path.write_text("\n".join([*lines, "rest,,3", ""]))
    return nodes


@pytest.mark.parametrize(
    "arguments", [(), ("--per-channel",), ("--energy-levels", "repeats", "--method", "gradient")]
)
def test_a_limit_is_kept_and_spent(
    arguments: tuple[str, ...], cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    nodes = write_table(tmp_path / "costs.csv", cnn_file)
    most = 3 + 2.5 * sum(range(1, len(nodes) + 1))
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=64", "--noise", "shot", "--costs",
        tmp_path / "costs.csv", "--max", f"energy_uj={most}", "-o", tmp_path / "out", "--json", "--steps", 3,
        "--repeats", 1, *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for candidate in result["candidates"]:
        assert 0.8 * most < candidate["resources"]["energy_uj"] <= most * (1 + 1e-9)
    document = json.loads((tmp_path / "out" / "energy.json").read_text())
    assert document["limits"] == {"energy_uj": most}

    def taken(index: int, energies: object) -> float:
        known = [price(index, each) for each in ENERGIES]
        return float(np.interp(np.atleast_1d(energies), ENERGIES, known).mean())

    counted = 3 + sum(
        taken(nodes.index(each["node"]) + 1, each["energy_per_mac"]) for each in document["nodes"]
    )
    assert counted == pytest.approx(result["chosen"]["resources"]["energy_uj"])
    evaluated = run_inside(
        "evaluate", tmp_path / "out" / "model.onnx", "--data", f"npz:{image_file}?count=16", "--repeats", 1, "--json",
        "--costs", tmp_path / "costs.csv",
    )  # fmt: skip
    assert json.loads(evaluated.stdout)["resources"]["energy_uj"] == pytest.approx(counted)
    again = run_inside("apply", cnn_file, tmp_path / "out" / "energy.json", "-o", tmp_path / "again.onnx")
    assert again.returncode == 0, again.stderr


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([ANY, REPEATS]))
def test_no_energies_of_the_choices_cost_less(seed: int, levels) -> None:
    rng = np.random.default_rng(seed)
    items = Items(("a", "b", "c"), (1, 1, 1), np.ones(3))
    amounts = np.cumsum(rng.exponential(1, (3, 4)), axis=1)
    if seed % 2:  # a device may take less for more
        amounts = rng.permuted(amounts, axis=1)
    prices = EnergyPrices(np.array([1.0, 4.0, 16.0, 40.0]), amounts, float(rng.exponential(1)))
    ends = sorted(float(amounts[:, place].sum()) for place in range(4))
    most = prices.fixed + float(rng.uniform(ends[0], ends[-1] * 1.01))
    side = PricedEnergySide(items, (PricedLimit("x", most, prices),), levels, np.array([1.0]))
    costs = np.exp(rng.normal(0, 2, (3, 1)))
    found = side.solve(costs)
    assert prices.spent(found) <= most * (1 + 1e-9)
    uniform = side.uniform()
    assert prices.spent(uniform) <= most * (1 + 1e-9) and len(set(uniform)) == 1
    if levels is REPEATS:
        assert (found == np.rint(found)).all() and (uniform == np.rint(uniform)).all()
    own = (costs[:, 0] / found).sum()
    tried = rng.choice(side.choices, (4000, 3))
    fits = np.array([prices.spent(each) <= most for each in tried])
    others = (costs[:, 0] / tried[fits]).sum(axis=1)
    assert not len(others) or own <= others.min() * (1 + 1e-9)
    assert prices.spent(side.project(np.exp(rng.normal(0, 1, 3)))) <= most * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 3), levels=st.sampled_from([ANY, REPEATS]))
def test_several_limits_are_kept_at_nearly_the_least_cost(seed: int, count: int, levels) -> None:
    rng = np.random.default_rng(seed)
    items = Items(tuple("abcdef"), (1,) * 6, np.ones(6))
    known = np.array([1.0, 4.0, 16.0, 40.0])
    tables = [np.cumsum(rng.exponential(1, (6, 4)), axis=1) for _ in range(count)]
    limits = tuple(
        PricedLimit(
            f"resource {index}",
            float(rng.uniform(each[:, 0].sum() * 1.01, each[:, -1].sum())),
            EnergyPrices(known, each),
        )
        for index, each in enumerate(tables)
    )
    side = PricedEnergySide(items, limits, levels, np.array([1.0]))
    side.check()
    costs = np.exp(rng.normal(0, 2, (6, 1)))
    found, uniform = side.solve(costs), side.uniform()
    projected = side.project(np.exp(rng.normal(0, 1, 6)))
    for energies in (found, uniform, projected):
        assert all(limit.prices.spent(energies) <= limit.most * (1 + 1e-9) for limit in limits)
        assert np.isin(energies, side.choices).all() or levels is ANY
    own = (costs[:, 0] / found).sum()
    assert own <= (costs[:, 0] / uniform).sum() * (1 + 1e-9)
    tried = rng.choice(side.choices, (3000, 6))
    fits = np.array([all(limit.holds(each) for limit in limits) for each in tried])
    others = (costs[:, 0] / tried[fits]).sum(axis=1)
    assert not len(others) or own <= others.min() * 1.05


def test_limits_and_a_mean_together(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    nodes = write_table(tmp_path / "costs.csv", cnn_file)
    text = (tmp_path / "costs.csv").read_text().splitlines()
    with_time = [f"{line},{'time_us' if not at else 0.1 * at}" for at, line in enumerate(text)]
    (tmp_path / "costs.csv").write_text("\n".join([*with_time, ""]))
    most = 3 + 3 * sum(range(1, len(nodes) + 1))
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "--noise", "shot", "--costs",
        tmp_path / "costs.csv", "--max", f"energy_uj={most}", "--max", "time_us=100",
        "--energy-per-mac", 20, "-o", tmp_path / "out", "--json", "--method", "closed-form", "--repeats", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for candidate in json.loads(done.stdout)["candidates"]:
        assert candidate["resources"]["energy_uj"] <= most * (1 + 1e-9)
        assert candidate["resources"]["time_us"] <= 100 * (1 + 1e-9)
    document = mpq_onnx.EnergyAllocation.load(tmp_path / "out" / "energy.json")
    assert document.mean_energy_per_mac <= 20 * (1 + 1e-9)
    assert set(document.limits) == {"energy_uj", "time_us"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give --energy-per-mac"),
        (
            ["--max", "energy_uj=30", "--energy-per-mac", 0.5, "--costs", "costs.csv"],
            2,
            "the smallest, at equal energies, is 1",
        ),
        (["--max", "energy_uj=30"], 2, "only columns of a cost table"),
        (["--max", "energy_uj=4", "--costs", "costs.csv"], 2, "the smallest, at equal energies, is 13.1"),
        (["--max", "area=4", "--costs", "costs.csv"], 2, "no column area; there is energy_uj"),
    ],
)
def test_what_is_refused(
    arguments: list, code: int, said: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    write_table(tmp_path / "costs.csv", cnn_file)
    arguments = [tmp_path / each if each == "costs.csv" else each for each in arguments]
    done = run_inside(
        "allocate",
        cnn_file,
        "--data",
        f"npz:{image_file}?count=32",
        "--noise",
        "shot",
        "-o",
        tmp_path / "out",
        *arguments,
    )
    assert_one_line(done, code, said)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_search_minimizes_a_column(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    nodes = write_table(tmp_path / "costs.csv", cnn_file)
    count = sum(range(1, len(nodes) + 1))

    def search(*arguments: object):
        return run_inside(
            "search", cnn_file, "--data", f"npz:{image_file}?count=64", "--test", f"npz:{image_file}", "-o",
            tmp_path / "search", "--min", "agreement=0.7", "--noise", "shot", "--costs", tmp_path / "costs.csv",
            "--method", "closed-form", "--repeats", 1, "--json", *arguments,
        )  # fmt: skip

    done = search("--minimize", "energy_uj", "--tolerance", 0.3)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    budgets = [probe["budget"] for probe in found["probes"]]
    assert min(budgets) >= 3 + count * price(1, 1) and max(budgets) == pytest.approx(
        3 + count * price(1, 1000)
    )
    assert found["best"]["budget"] == min(each["budget"] for each in found["probes"] if each["reached"])
    best = tmp_path / "search" / "probes" / f"{found['best']['budget']:.6g}"
    assert json.loads((best / "energy.json").read_text())["limits"] == {"energy_uj": found["best"]["budget"]}
    again = search("--config", tmp_path / "search" / "config.yaml")
    assert json.loads(again.stdout)["best"] == found["best"]
    other = search("--tolerance", 0.3)
    assert_one_line(other, 2, "holds the probes of another search (other: minimize)")


def test_what_a_search_of_energies_cannot_minimize(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "costs.csv", cnn_file)
    for arguments, said in (
        (("--minimize", "bops"), "bops"),
        (("--minimize", "energy_uj", "--max", "energy_uj=9"), "is what the search finds"),
        (("--minimize", "energy_uj", "--weight-bits", 4), "give --from and --to"),
    ):
        done = run_inside(
            "search", cnn_file, "--data", f"npz:{image_file}?count=64", "--test", f"npz:{image_file}", "-o",
            tmp_path / "search", "--min", "agreement=0.7", "--noise", "shot", "--costs", tmp_path / "costs.csv",
            *arguments,
        )  # fmt: skip
        assert_one_line(done, 2, said)
        assert not (tmp_path / "search").exists()
