"""Cost tables: simulators run for real where they are installed, and what is not there is said in one line."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_encoder, make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.handoff_targets.loops import loops_of
from mpq_onnx.registries import SIMULATORS
from mpq_onnx.runs.declared import options_of
from mpq_onnx.runs.handing_off import RANDOM_DATA, make_bundle
from mpq_onnx.simulators.environments import Environment, find
from mpq_onnx.simulators.onnxruntime import REST
from mpq_onnx.simulators.simulated import SimulatedTool
from mpq_onnx.targets.cost_table import CostTable, load_cost_table

ROOT = Path(__file__).resolve().parents[1]
NODES = ("stem", "inner", "depthwise", "fc")

COUNTING = """
import json, sys
from pathlib import Path
job = json.load(sys.stdin)
folder = Path(__file__).parent
patience = folder / "patience.txt"
with (folder / "log.txt").open("a") as log:
    for at, point in enumerate(job["points"]):
        if patience.exists() and at == int(patience.read_text()):
            sys.exit("out of ideas")
        print(point["key"], file=log, flush=True)
        amount = point["layer"] * (point["weight_bits"] or point["energy_per_mac"])
        print(json.dumps({"key": point["key"], "latency_ms": amount}), flush=True)
"""
"""A worker whose layers take a millisecond a multiply-accumulate and bit; it keeps a log, and gives up where it is told to."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path) -> Path:
    path = tmp_path_factory.mktemp("profile") / "float.onnx"
    mpq_onnx.export(str(cnn_file), path)
    return path


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions of the same sizes."""
    rng = np.random.default_rng(0)
    tensors = {"w1": weights(rng, 3, 3, 3, 3), "w2": weights(rng, 3, 3, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Conv", ["a", "w2"], ["b"], "second", pads=[1] * 4),
    ]
    model = make_model(nodes, [("images", TensorProto.FLOAT, ["n", 3, 12, 12])], [("b", None)], tensors)
    folder = tmp_path_factory.mktemp("twins")
    onnx.save(model, folder / "source.onnx")
    mpq_onnx.export(str(folder / "source.onnx"), folder / "float.onnx")
    return folder / "float.onnx"


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A simulator `counting`, as one file and one line would add it; the folder of its log and its patience."""
    folder = tmp_path / "counting"
    folder.mkdir()
    (folder / "counting.py").write_text(COUNTING)
    tool = SimulatedTool(
        environment=Environment("counting", "numpy", ("numpy",), (3, 10)),
        script=str(folder / "counting.py"),
        resources=("latency_ms",),
        default_architecture="plain",
        architectures=("plain",),
        file_kind="a file",
        energies=lambda architecture: True,
        layer=lambda loops, weight_bits, bits: (loops.macs, 1),
        options=lambda settings: {},
        notes=lambda settings: (),
    )
    monkeypatch.setitem(SIMULATORS, "counting", tool)
    monkeypatch.setenv("MPQ_ONNX_COUNTING_PYTHON", sys.executable)
    return folder


def use_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Take a simulator from the environment that `make test` sets up, where it has it, unless another one is named."""
    environment = SIMULATORS[name].environment
    python = os.environ.get(environment.variable) or f"{sys.prefix}-simulators/bin/python"
    try:
        find(environment, python)
    except UsageError:
        pytest.skip(f"{python} has no {name}")
    monkeypatch.setenv(environment.variable, python)


def profiled(model: Path, output: Path, simulator: str, **options: object) -> CostTable:
    mpq_onnx.profile(model, output, simulator=simulator, options=mpq_onnx.ProfileOptions(**options))
    assert not list(output.parent.glob(f"{output.name}.partial*"))
    return load_cost_table(output)


def rows_of(model: Path) -> tuple[LayerRow, ...]:
    loaded = load_model(model)
    dataset = open_dataset(RANDOM_DATA, model_inputs(loaded), loaded.metadata_props)
    return make_bundle(str(model), loaded, dataset, measure=False, device="cpu").layers


def unusual_layers() -> onnx.ModelProto:
    """Convolutions over 1 and 3 axes, grouped, dilated and transposed; an LSTM."""
    rng = np.random.default_rng(0)
    tensors = {
        "w1": weights(rng, 6, 4, 3), "w3": weights(rng, 4, 2, 2, 2, 2), "wg": weights(rng, 8, 2, 3, 3),
        "wt": weights(rng, 4, 3, 2, 2), "lw": weights(rng, 1, 20, 4), "lr": weights(rng, 1, 20, 5),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x1", "w1"], ["a"], "line", pads=[1, 1], strides=[2]),
        helper.make_node("Conv", ["x3", "w3"], ["b"], "volume"),
        helper.make_node("Conv", ["x2", "wg"], ["c"], "grouped", group=2, dilations=[2, 2]),
        helper.make_node("ConvTranspose", ["x2", "wt"], ["d"], "transposed", strides=[2, 2]),
        helper.make_node("LSTM", ["xs", "lw", "lr"], ["e"], "recurrent", hidden_size=5),
    ]
    inputs = [
        ("x1", TensorProto.FLOAT, ["n", 4, 9]), ("x2", TensorProto.FLOAT, ["n", 4, 8, 8]),
        ("x3", TensorProto.FLOAT, ["n", 2, 4, 4, 4]), ("xs", TensorProto.FLOAT, [7, "n", 4]),
    ]  # fmt: skip
    outputs = [("a", None), ("b", None), ("c", None), ("d", None), ("e", None)]
    return make_model(nodes, inputs, outputs, tensors)


@pytest.mark.parametrize("make", [make_encoder, unusual_layers])
def test_loops_have_the_multiply_accumulates_of_every_layer(
    make: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    onnx.save(make(), tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    rows = rows_of(tmp_path / "float.onnx")
    assert len(rows) >= 6
    for row in rows:
        loops = loops_of(row)
        assert loops.macs == row.macs and loops.fan_in == row.fan_in, row.name
        assert loops.one_group.macs * loops.groups == row.macs


def test_an_interrupted_profile_goes_on_and_equal_layers_are_simulated_once(
    counting: Path, exported: Path, twins: Path, tmp_path: Path
) -> None:
    table, patience = tmp_path / "costs.csv", counting / "patience.txt"
    partial = tmp_path / "costs.csv.partial.jsonl"
    options = mpq_onnx.ProfileOptions(weight_bits=(2, 4), activation_bits=(8,))
    patience.write_text("3")
    with pytest.raises(ModelError, match="out of ideas"):
        mpq_onnx.profile(exported, table, simulator="counting", options=options)
    assert not table.exists()
    with partial.open("a") as file:
        file.write('{"key": "cut sho')
    patience.unlink()
    result = mpq_onnx.profile(exported, table, simulator="counting", options=options)
    assert (result.simulated, result.reused, result.rows, result.nodes) == (5, 3, 8, 4)
    keys = (counting / "log.txt").read_text().split()
    assert len(keys) == len(set(keys)) == 8
    assert not partial.exists()
    found = load_cost_table(table)
    assert found.nodes == NODES
    macs = {row.name: row.macs for row in rows_of(exported)}
    assert found.amount("latency_ms", "inner", 3, 8) == pytest.approx(3 * macs["inner"])
    assert result.totals["latency_ms"] == pytest.approx((2 * sum(macs.values()), 4 * sum(macs.values())))

    # Another precision of the same layers shares nothing; two nodes of one shape are one point.
    again = mpq_onnx.profile(twins, table, simulator="counting", options=options)
    assert (again.nodes, again.rows, again.simulated) == (2, 4, 2)


def test_quantized_and_noisy_files_are_simulated_at_what_they_have(
    counting: Path, exported: Path, image_file: Path, tmp_path: Path
) -> None:
    data = f"npz:{image_file}?count=32"
    fast = {"method": "water-filling", "rounding": "nearest"}
    result = mpq_onnx.allocate(
        exported,
        data,
        tmp_path / "digital",
        weight_bits=4,
        activation_bits=6,
        options=mpq_onnx.AllocateOptions(**fast),
    )
    table = profiled(Path(result.model_path), tmp_path / "digital.csv", "counting")
    allocation = mpq_onnx.load_allocation(tmp_path / "digital" / "allocation.json")
    widths = {node.node: node.weight_bits for node in allocation.nodes if node.weight}
    assert {row.node: row.weight_bits for row in table.rows} == widths
    noise = mpq_onnx.EnergyOptions(("shot",), method="closed-form", granularity="channel")
    mpq_onnx.allocate_energy(exported, data, tmp_path / "analog", energy_per_mac=20, options=noise)
    noisy = profiled(tmp_path / "analog" / "model.onnx", tmp_path / "analog.csv", "counting")
    energies = mpq_onnx.load_energy_allocation(tmp_path / "analog" / "energy.json").nodes
    assert {row.node: row.energy_per_mac for row in noisy.rows} == {
        node.node: pytest.approx(np.mean(node.energy_per_mac)) for node in energies
    }


def test_zigzag_moves_with_the_widths(
    monkeypatch: pytest.MonkeyPatch, exported: Path, twins: Path, tmp_path: Path
) -> None:
    use_environment(monkeypatch, "zigzag")
    table = profiled(exported, tmp_path / "costs.csv", "zigzag", weight_bits=(8,))
    assert table.nodes == NODES and table.resources == ("latency_ms", "energy_uj")
    assert "zigzag-dse" in table.made_by and "tpu_like" in table.made_by
    for row in rows_of(exported):
        assert table.amount("energy_uj", row.name, 8, 8) > 0.04e-6 * row.macs  # a multiplier takes 0.04 pJ
        assert table.amount("latency_ms", row.name, 8, 8) >= row.macs / 32**2 / 1e6  # 1024 of them, at 1 GHz
    narrow = profiled(twins, tmp_path / "narrow.csv", "zigzag", weight_bits=(2, 8), activation_bits=(4, 8))
    energy = [narrow.amount("energy_uj", "first", *bits) for bits in ((2, 4), (8, 4), (2, 8), (8, 8))]
    assert energy == sorted(set(energy))


def test_scalesim_passes_more_narrow_words_and_reads_the_topology(
    monkeypatch: pytest.MonkeyPatch, exported: Path, tmp_path: Path
) -> None:
    use_environment(monkeypatch, "scalesim")
    table = profiled(exported, tmp_path / "costs.csv", "scalesim", weight_bits=(4,), activation_bits=(4, 8))
    assert table.resources == ("latency_ms",)
    for node in NODES:
        narrow, wide = (table.amount("latency_ms", node, 4, bits) for bits in (4, 8))
        assert narrow < wide or (narrow == wide and node == "fc")  # eight inputs pass at once at either width
    mpq_onnx.handoff(exported, tmp_path / "handoff", to="scalesim")
    found = ran(
        os.environ["MPQ_ONNX_SCALESIM_PYTHON"],
        tmp_path,
        "run_scalesim.py",
        tmp_path / "handoff" / "topology.csv",
    )
    rows = rows_of(exported)
    assert list(found) == [row.name for row in rows]
    assert {row.name: found[row.name]["macs"] * row.groups for row in rows} == {
        row.name: row.macs for row in rows
    }
    assert all(each["cycles"] > 0 for each in found.values())


def ran(python: str, folder: Path, script: str, *arguments: object) -> dict:
    """What a script in tests/simulators prints on its last line; tools may write into `folder`."""
    result = subprocess.run(
        [python, ROOT / "tests" / "simulators" / script, *map(str, arguments)],
        capture_output=True, text=True, timeout=240, check=False, cwd=folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_accelforge_reads_the_hand_off_and_finds_the_same(twins: Path, tmp_path: Path) -> None:
    try:
        python = find(SIMULATORS["accelforge"].environment, None).python
    except UsageError:
        pytest.skip(
            "accelforge is not installed (it needs Python 3.12; mpq-onnx profile --install accelforge)"
        )
    table = profiled(twins, tmp_path / "costs.csv", "accelforge", weight_bits=(4, 8), architecture="jia")
    assert table.amount("energy_uj", "first", 4, 8) < table.amount("energy_uj", "first", 8, 8)
    photons = profiled(
        twins, tmp_path / "photons.csv", "accelforge", architecture="albireo", energies=(10, 10000)
    )
    low, high = (photons.amount("energy_uj", "first", None, None, each) for each in (10, 10000))
    # 0.128 aJ a photon, a thousandth of the lasers' energy: 1.28 pJ a multiply-accumulate, more where some idle.
    macs = rows_of(twins)[0].macs
    assert high - low >= 0.999 * 10000 * 0.128e-18 / 1e-3 * macs * 1e6 * (1 - 10 / 10000)
    quantized = mpq_onnx.allocate(
        twins, RANDOM_DATA, tmp_path / "eight", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest"),
    )  # fmt: skip
    mpq_onnx.handoff(quantized.model_path, tmp_path / "handoff", to="accelforge")
    found = ran(python, tmp_path, "run_accelforge.py", tmp_path / "handoff")
    assert list(found) == ["0_first", "1_second"]
    for resource in table.resources:
        assert found["0_first"][resource] == pytest.approx(table.amount(resource, "first", 8, 8), rel=0.02)


def test_onnxruntime_times_layers_and_the_rest(exported: Path, tmp_path: Path) -> None:
    result = mpq_onnx.profile(
        exported, tmp_path / "costs.csv", simulator="onnxruntime", options=mpq_onnx.ProfileOptions(runs=20)
    )
    table = load_cost_table(tmp_path / "costs.csv")
    assert table.nodes == (*NODES, REST)
    assert [check.file for check in result.checks] == ["W7A8", "W8A8", "float.onnx"]
    for check, bits in zip(result.checks, ((7, 8), (8, 8), (None, None)), strict=True):
        layers = sum(table.amount("latency_ms", node, *bits) for node in NODES)
        total = layers + table.fixed("latency_ms", NODES)
        # What lies between the layers is one time for all files: of so small ones it may be more than one takes.
        assert total == pytest.approx(max(check.predicted_ms, table.fixed("latency_ms", NODES)), rel=1e-3)
    assert table.amount("latency_ms", "inner", 3.5, 8) > 0
    assert not any(math.isnan(row.amounts["latency_ms"]) for row in table.rows)


@pytest.mark.parametrize("simulator", [name for name in SIMULATORS if name != "onnxruntime"])
def test_a_missing_simulator_is_one_line_that_says_how_to_get_it(
    simulator: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv(f"MPQ_ONNX_{simulator.upper()}_PYTHON", raising=False)
    command = ("profile", exported, "--with", simulator, "-o", tmp_path / "costs.csv")
    advice = f"mpq-onnx profile --install {simulator}"
    assert_one_line(run_inside(*command), 2, f"{simulator} is not installed", advice)
    assert_one_line(run_inside(*command, "--python", sys.executable), 2, sys.executable, advice)
    assert not list(tmp_path.glob("costs*"))


def test_wrong_usage_is_one_line(counting: Path, exported: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "costs.csv")
    asked = ("profile", exported, "--with", "counting", *out)
    assert_one_line(run_inside("profile", exported, *out), 2, "--with")
    assert_one_line(run_inside("profile", exported, "--with", "gem5", *out), 2, "gem5", "zigzag")
    assert_one_line(run_inside(*asked, "--architecture", "moon"), 2, "moon", "plain")
    assert_one_line(run_inside(*asked, "--weight-bits", "2.5"), 2, "2.5", "whole widths")
    assert_one_line(run_inside(*asked, "--weight-bits", "4", "--energies", "10"), 2, "--energies")
    assert_one_line(run_inside(*asked, "--energies", "0"), 2, "above 0")
    assert_one_line(run_inside("profile", "--install", "onnxruntime"), 2, "install onnxruntime", "zigzag")
    assert_one_line(run_inside("profile", tmp_path / "none.onnx", *asked[2:]), 3, "none.onnx")
    timed = ("profile", exported, "--with", "onnxruntime", *out)
    assert_one_line(run_inside(*timed, "--energies", "10"), 2, "no energy per MAC")
    assert_one_line(run_inside(*timed, "--architecture", "x"), 2, "leave it out")


def test_the_command_prints_one_object(counting: Path, exported: Path, tmp_path: Path) -> None:
    result = run_inside(
        "profile",
        exported,
        "--with",
        "counting",
        "--energies",
        "1,10",
        "-o",
        tmp_path / "costs.csv",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["simulated"] == 8 and document["resources"] == ["latency_ms"]
    table = load_cost_table(tmp_path / "costs.csv")
    assert table.amount("latency_ms", "fc", 3, 5, 10) == 10 * table.amount("latency_ms", "fc", None, None, 1)


def test_answers_that_are_none_are_refused(counting: Path, exported: Path, tmp_path: Path) -> None:
    command = ("profile", exported, "--with", "counting", "-o", tmp_path / "costs.csv")
    (counting / "counting.py").write_text("print('hello')")
    assert_one_line(run_inside(*command), 3, "hello")
    (counting / "counting.py").write_text(
        'import json, sys; print(json.dumps({"key": json.load(sys.stdin)["points"][0]["key"], "error": "too wide"}))'
    )
    assert_one_line(run_inside(*command), 3, "node stem", "too wide", "by hand")
    (counting / "counting.py").write_text("import sys; sys.stdin.read()")
    assert_one_line(run_inside(*command), 3, "without an answer")


def test_everything_that_can_be_said_is_documented() -> None:
    page = (ROOT / "docs" / "simulators.md").read_text()
    tools = [each for each in SIMULATORS.values() if isinstance(each, SimulatedTool)]
    names = [*SIMULATORS, *(name for tool in tools for name in tool.architectures)]
    assert [name for name in names if f"`{name}`" not in page] == []
    assert [tool.environment.variable for tool in tools if tool.environment.variable not in page] == []
    flags = [f"--{each.spelled}" for each in options_of(mpq_onnx.ProfileOptions)]
    quoted = {"--weight-bits", "--activation-bits"}
    assert [flag for flag in flags if flag not in page and flag not in quoted] == []


def test_nodes_without_names_are_timed_by_the_names_that_every_command_gives_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["y"], transB=1),
    ]
    tensors = {"w": weights(rng, 64, 32), "v": weights(rng, 10, 64)}
    onnx.save(
        make_model(nodes, [("x", TensorProto.FLOAT, ["n", 32])], [("y", ["n", 10])], tensors),
        tmp_path / "m.onnx",
    )
    options = mpq_onnx.ProfileOptions(runs=5, weight_bits=(8,), activation_bits=(8,))
    mpq_onnx.profile(tmp_path / "m.onnx", tmp_path / "t.csv", simulator="onnxruntime", options=options)
    assert load_cost_table(tmp_path / "t.csv").nodes == ("h", "y", REST)
    assert [row.node for row in mpq_onnx.inspect(tmp_path / "m.onnx").layers] == ["h", "y"]
