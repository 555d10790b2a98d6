"""What the sixth tester of the commands found: noise on networks that are float yet, bounds of cost tables, goals, messages."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside
from test_plugins import install

from mpq_onnx import EnergyOptions, Interval
from mpq_onnx.runs import allocating_energy
from mpq_onnx.runs.searching import usual_energies

QUICK = ("--effort", "quick", "--repeats", 1)
BITS = ("--weight-bits", 8, "--activation-bits", 8, "--rounding", "nearest")


@pytest.fixture
def data(image_file: Path) -> tuple[object, ...]:
    return "--data", f"npz:{image_file}?count=48"


def write_costs(path: Path, energies: Sequence[float], price: Mapping[str, float] | None = None) -> Path:
    """A cost table of the CNN: what a node takes is proportional to its energy per MAC, 1 by default."""
    rows = [
        f"{node},{energy},{energy * (price or {}).get(node, 1)}"
        for node in ("stem", "inner", "depthwise", "fc")
        for energy in energies
    ]
    path.write_text("\n".join(["node,energy_per_mac,energy_uj", *rows, ""]))
    return path


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--noise", "thermal", "--weight-bits", 8), ("thermal noise at node stem", "--activation-bits 8")),
        (("--noise", "weight", "--activation-bits", 8), ("weight noise at node stem", "--weight-bits 8")),
        (("--noise", "thermal", *BITS, "--exclude", "fc"), ("at node fc", "exclude")),
    ],
)
def test_ranges_that_no_quantizer_will_have_are_refused_before_any_work(
    arguments: tuple[object, ...],
    parts: tuple[str, ...],
    data: tuple[object, ...],
    cnn_file: Path,
    tmp_path: Path,
) -> None:
    for command in (("allocate", "--energy-per-mac", 2), ("search", "--test", data[1], "--min", "top1=0.1")):
        done = run_inside(
            command[0], cnn_file, *data, *command[1:], *arguments, *QUICK, "-o", tmp_path / "out"
        )
        assert_one_line(done, 2, *parts)
        assert "calibrate" not in done.stderr and not (tmp_path / "out").exists()


def test_what_a_refused_noisy_run_quantized_goes(
    data: tuple[object, ...], cnn_file: Path, tmp_path: Path
) -> None:
    table, out = write_costs(tmp_path / "costs.csv", (1, 100)), tmp_path / "out"
    limited = ("--noise", "shot", "--costs", table, *BITS, *QUICK)
    refused = run_inside("allocate", cnn_file, *data, *limited, "--max", "energy_uj=1e-6", "-o", out)
    assert_one_line(refused, 2, "cannot be reached")
    assert not out.exists()
    search = ("search", cnn_file, *data, "--test", data[1], "--min", "top1=1", *limited, "-o", out)
    assert_one_line(run_inside(*search, "--max", "energy_uj=1e-6"), 2, "cannot be reached")
    mended = run_inside(*search, "--max", "energy_uj=1000", "--from", 9, "--to", 10)
    assert mended.returncode == 1 and "goal not reached" in mended.stderr, mended.stderr


def test_what_an_interrupted_noisy_run_quantized_is_no_result(
    data: tuple[object, ...], cnn_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, noise = tmp_path / "out", ("--noise", "shot", "--energy-per-mac", 4, *QUICK)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(allocating_energy, "NoiseBench", interrupted)
        assert run_inside("allocate", cnn_file, *data, *noise, *BITS, "-o", out).returncode == 130
    assert (out / "digital" / "result.json").is_file()
    other = run_inside("allocate", cnn_file, *data, *noise, "--weight-bits", 6, "-o", out)
    assert other.returncode == 0, other.stderr
    written = json.loads((out / "digital" / "allocation.json").read_text())
    assert written["budget"]["weight_bits"] == 6

    own = tmp_path / "own"
    assert (
        run_inside("allocate", cnn_file, *data, *BITS, "--effort", "quick", "-o", own / "digital").returncode
        == 0
    )
    refused = run_inside("allocate", cnn_file, *data, *noise, "--weight-bits", 6, "-o", own)
    assert_one_line(refused, 2, "another result")
    assert (own / "digital" / "result.json").is_file()


def test_a_search_begins_at_energies_that_there_are(
    data: tuple[object, ...], cnn_file: Path, tmp_path: Path
) -> None:
    search = (
        "search",
        cnn_file,
        *data,
        "--test",
        data[1],
        "--noise",
        "shot",
        *QUICK,
        "--to",
        3,
        "--tolerance",
        0.9,
    )
    whole = (*search, "--energy-levels", "repeats", "--min", "top1=0.01")
    found = run_inside(*whole, "-o", tmp_path / "whole")
    assert found.returncode == 0, found.stderr
    assert {each.name for each in (tmp_path / "whole" / "probes").iterdir() if each.is_dir()} == {"1", "3"}
    below = run_inside(*whole, "--from", 0.5, "-o", tmp_path / "other")
    assert_one_line(below, 2, "--from 0.5: cannot be reached; the smallest is 1")
    table = write_costs(tmp_path / "costs.csv", (2, 100))
    limited = (
        *search,
        "--costs",
        table,
        "--max",
        "energy_uj=1000",
        "--min",
        "top1=0.01",
        "-o",
        tmp_path / "other",
    )
    assert_one_line(run_inside(*limited, "--from", 1), 2, "--from 1: cannot be reached", "cost table is 2")
    options = EnergyOptions(("shot",), costs=str(table), max=("energy_uj=1000",))
    assert usual_energies(options) == Interval(2, 1000)
    assert usual_energies(EnergyOptions(("shot",))) == Interval(0.1, 1000)


def test_a_search_names_its_own_options(data: tuple[object, ...], cnn_file: Path, tmp_path: Path) -> None:
    search = (
        "search",
        cnn_file,
        *data,
        "--test",
        data[1],
        "--min",
        "top1=0.01",
        *QUICK,
        "-o",
        tmp_path / "out",
    )
    bits = run_inside(*search[:-4], "-o", tmp_path / "out", "--from", 1, "--activation-bits", 8)
    assert_one_line(bits, 2, "--from 1: cannot be reached")
    assert_one_line(run_inside(*search, "--noise", "shot", "--minimize", "bops"), 2, "--minimize bops:")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("energies", "price", "limit", "stopped"),
    [
        ((1, 20), {"fc": 0.01}, 31, "energies of fc at 20 a MAC, the highest"),
        ((8, 1000), {"stem": 30}, 400, "energies of stem at 8 a MAC, the lowest"),
        ((1, 1000), {"fc": 1e-9}, 1e9, "would allow more than 1000"),
    ],
)
def test_nodes_that_the_ends_of_a_cost_table_stop_are_named(
    energies: tuple[float, ...],
    price: dict[str, float],
    limit: float,
    stopped: str,
    data: tuple[object, ...],
    cnn_file: Path,
    tmp_path: Path,
) -> None:
    table = write_costs(tmp_path / "costs.csv", energies, price)
    limited = ("--noise", "shot", "--costs", table, "--max", f"energy_uj={limit}", *QUICK, "--json")
    done = run_inside("allocate", cnn_file, *data, *limited, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (note,) = [each for each in json.loads(done.stdout)["notes"] if "cost table" in each]
    assert stopped in note


def test_what_may_be_lost_of_what_the_float_network_has_whole(
    data: tuple[object, ...], cnn_file: Path, tmp_path: Path
) -> None:
    search = (
        "search",
        cnn_file,
        *data,
        "--test",
        data[1],
        "--effort",
        "quick",
        "--rounding",
        "nearest",
        "--json",
    )
    ends = ("--from", 2, "--to", 8, "--tolerance", 0.99, "--bit-choices", "1,8")
    done = run_inside(
        *search, *ends, "--max-drop", "agreement=0.2", "--max-drop", "cosine=0.1", "-o", tmp_path
    )
    assert done.returncode == 0, done.stderr
    for each in json.loads(done.stdout)["probes"]:
        reaches = each["metrics"]["agreement"] >= 0.8 and each["metrics"]["cosine"] >= 0.9
        assert each["reached"] == reaches


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("math.sqrt(mac.fan_in)", "+ - * / and ** alone: TypeError"),
        ("1e-6", "none of the node's quantities"),
        ("mac.bits / 2", "a node has no bits"),
        ("mac.weight_range ** 2 / mac.energy_per_mac", "needs_weight_range is not set"),
        ("1e-6 * mac.fan_in ** 2 / mac.energy_per_mac ** 0.5", None),
    ],
)
def test_formulas_of_other_packages_are_tried_before_any_work(
    formula: str,
    said: str | None,
    data: tuple[object, ...],
    cnn_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = f"""
import math
from mpq_onnx.arithmetic.noise.model import RELATIVE, NoiseModel
MINE = NoiseModel("mine", RELATIVE, 1.0, output_variance=lambda mac: {formula})
"""
    install(tmp_path, monkeypatch, "my_noise", code, "[mpq_onnx.noise_models]\nmine = my_noise:MINE\n")
    noise = ("--noise", "mine", "--energy-per-mac", 4, "--method", "uniform", "--repeats", 1)
    done = run_inside(
        "allocate", cnn_file, *data, *noise, *(() if said is None else BITS), "-o", tmp_path / "out"
    )
    sys.modules.pop("my_noise", None)
    if said is None:
        assert done.returncode == 0, done.stderr
        return
    assert_one_line(done, 2, "plug-in mine of package my-noise", said)
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_messages_say_what_there_is(data: tuple[object, ...], cnn_file: Path, tmp_path: Path) -> None:
    for ceiling in ("bops=1G", "weight_bytes=1k"):
        refused = run_inside("evaluate", cnn_file, *data, "--max", ceiling)
        assert_one_line(refused, 2, "widths that mpq-onnx allocated", "inspect", "bytes")
    limit = (
        "allocate",
        cnn_file,
        *data,
        "--noise",
        "shot",
        "--energy-per-mac",
        2,
        "--max",
        "weight_bytes=900",
    )
    unread = run_inside(*limit, "-o", tmp_path / "out")
    assert_one_line(unread, 2, "--max weight_bytes: with --noise only columns of a cost table")
    assert unread.stderr.count("\n") == 1
    dynamic = (*BITS, "--effort", "quick", "--activation-ranges", "dynamic")
    assert run_inside("allocate", cnn_file, *data, *dynamic, "-o", tmp_path / "dynamic").returncode == 0
    noise = ("--noise", "thermal", "--energy-per-mac", 2, "-o", tmp_path / "out")
    told = run_inside("allocate", tmp_path / "dynamic" / "model.onnx", *data, *noise)
    assert_one_line(told, 3, "another one for every example", "--activation-ranges static")


def test_a_calibration_is_reused_below_noise(
    data: tuple[object, ...], cnn_file: Path, tmp_path: Path
) -> None:
    measured = tmp_path / "c.json"
    assert run_inside("calibrate", cnn_file, *data, "--observer", "minmax", "-o", measured).returncode == 0
    noise = (
        "--noise",
        "shot",
        "--energy-per-mac",
        4,
        "--calibration",
        measured,
        "--method",
        "uniform",
        "--repeats",
        1,
    )
    assert_one_line(run_inside("allocate", cnn_file, *data, *noise, "-o", tmp_path / "out"), 2, "calibration")
    below = (*BITS, "--observer", "minmax", "-o", tmp_path / "out")
    done = run_inside("allocate", cnn_file, *data, *noise, *below)
    assert done.returncode == 0, done.stderr
    assert "calibrate:" not in done.stderr
    assert (tmp_path / "out" / "digital" / "calibration.json").read_text() == measured.read_text()
    assert "calibration: ../c.json" in (tmp_path / "out" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "line"),
    [
        ((16,), (3,), [2], "15,1,3,1,4,6,2,"),
        ((1, 16), (1, 3), [1, 2], "1,15,1,3,4,6,2,"),
        ((8, 16), (8, 3), [1, 2], "8,15,8,3,4,6,2,"),
        ((8, 16), (3, 3), [1, 2], None),
    ],
)
def test_scalesim_has_a_stride_where_one_axis_takes_steps(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: list[int], line: str | None, tmp_path: Path
) -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4, *kernel)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", strides=strides)
    out = ["n", 6, *(None for _ in shape)]
    onnx.save(
        make_model([node], [("x", TensorProto.FLOAT, ["n", 4, *shape])], [("y", out)], {"w": weight}),
        tmp_path / "m",
    )
    handed = run_inside("handoff", tmp_path / "m", "--to", "scalesim", "-o", tmp_path / "h")
    if line is None:
        assert_one_line(handed, 2, "two strides: conv")
        return
    assert handed.returncode == 0, handed.stderr
    assert (tmp_path / "h" / "topology.csv").read_text().splitlines()[1] == f"conv,{line}"
