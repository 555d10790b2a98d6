"""Entry points of other packages: found, listed, used, and named where they are broken."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest
from test_cli import assert_one_line, run_inside

from mpq_onnx import registries
from mpq_onnx.errors import PluginError
from mpq_onnx.registry import Registry

CODE = """
import math
from mpq_onnx.arithmetic.noise.model import RELATIVE, NoiseModel
from mpq_onnx.arithmetic.observers.min_max import MinMaxObserver
from mpq_onnx.handoff_targets import Target
from mpq_onnx.precision.methods import uniform

class Mine(MinMaxObserver):
    pass

def plain(problem):
    return list(uniform.propose(problem))

FLAT = NoiseModel("flat", RELATIVE, 1.0, output_variance=lambda mac: 1e-6 / mac.energy_per_mac)

def write(bundle, folder):
    (folder / "names.txt").write_text(" ".join(row.name for row in bundle.layers))
    return ["written by a plug-in"]

NAMES = Target(write)
BOARD = "format: mpq-onnx/target\\nversion: 1\\nname: board\\nabout: four bits alone\\nrules:\\n- weights: [4]\\n"
NOTHING = 3
"""
POINTS = """
[mpq_onnx.observers]
mine = my_plugin:Mine
minmax = my_plugin:NOTHING
absent = my_plugin:Absent
[mpq_onnx.methods]
plain = my_plugin:plain
[mpq_onnx.noise_models]
flat = my_plugin:FLAT
none = my_plugin:NOTHING
[mpq_onnx.hand_offs]
names = my_plugin:NAMES
gone = no_such_module:X
[mpq_onnx.targets]
board = my_plugin:BOARD
"""
TABLES = ("OBSERVERS", "WEIGHT_OBSERVERS", "METHODS", "NOISE_MODELS", "HAND_OFFS", "DEVICE_TARGETS")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "plugins.md"


@pytest.fixture
def plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip installs it, and tables that have not yet looked."""
    site = tmp_path_factory.mktemp("site")
    install(site, monkeypatch, "my_plugin", CODE, POINTS)
    yield
    sys.modules.pop("my_plugin", None)


def install(site: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str, points: str) -> None:
    (site / f"{module}.py").write_text(code)
    about = site / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n"
    )
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    for name in TABLES:
        table: Registry = getattr(registries, name)
        monkeypatch.setattr(table, "_plugins", None)
        monkeypatch.setattr(table, "_entries", dict(table._entries))
        monkeypatch.setattr(table, "_waiting", set(table._waiting))


def test_the_plugin_of_the_page_works(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, code = re.findall(r"```(?:toml|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (group, name, place) = re.search(r'entry-points\."(.*)"\]\n(.*) = "(.*)"', project).groups()
    install(tmp_path, monkeypatch, "my_ranges", code, f"[{group}]\n{name} = {place}\n")
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "--weight-bits", 4, "--activation-bits", 8,
        "--effort", "quick", "--weight-observer", name, "-o", tmp_path / "out",
    )  # fmt: skip
    sys.modules.pop("my_ranges", None)
    assert done.returncode == 0, done.stderr
    assert (
        json.loads((tmp_path / "out" / "allocation.json").read_text())["settings"]["weight_observer"] == name
    )


def test_names_are_listed_and_ours_stay_ours(plugin: None) -> None:
    assert {"mine", "minmax", "absent"} <= set(registries.OBSERVERS) and "mine" in registries.OBSERVERS
    assert len(registries.OBSERVERS) == len(list(registries.OBSERVERS))
    assert registries.OBSERVERS["minmax"].__module__.startswith("mpq_onnx.")
    assert registries.OBSERVERS["mine"].__name__ == "Mine" and "unheard-of" not in registries.OBSERVERS
    with pytest.raises(KeyError):
        registries.OBSERVERS["unheard-of"]


def test_a_plugin_is_used_by_its_names(
    plugin: None, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    data = ("--data", f"npz:{image_file}?count=32")
    fast = ("--rounding", "nearest", "--no-bias-correction")
    done = run_inside(
        "allocate", cnn_file, *data, "--weight-bits", 4, "--activation-bits", 8, "--method", "plain", "--observer", "mine",
        *fast, "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        json.loads((tmp_path / "out" / "allocation.json").read_text())["settings"]["activation_observer"]
        == "mine"
    )
    noisy = run_inside(
        "allocate", cnn_file, *data, "--noise", "flat", "--energy-per-mac", 5, "--method", "uniform", "--repeats", 1,
        "-o", tmp_path / "noisy",
    )  # fmt: skip
    assert noisy.returncode == 0, noisy.stderr
    handed = run_inside(
        "handoff", tmp_path / "out" / "model.onnx", "--to", "names", "-o", tmp_path / "handed"
    )
    assert handed.returncode == 0 and "NOTE: written by a plug-in" in handed.stdout, handed.stderr
    assert (tmp_path / "handed" / "names.txt").read_text() == "stem inner depthwise fc"
    listed = run_inside("targets")
    assert listed.returncode == 0 and "four bits alone" in listed.stdout, listed.stderr
    on_board = run_inside("allocate", cnn_file, *data, "--target", "board", *fast, "-o", tmp_path / "board")
    assert on_board.returncode == 0, on_board.stderr
    nodes = json.loads((tmp_path / "board" / "allocation.json").read_text())["nodes"]
    assert {node["weight_bits"] for node in nodes if node["weight"]} == {4}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--observer", "absent"), "plug-in absent of package my-plugin"),
        (("--noise", "none", "--energy-per-mac", 3), "plug-in none of package my-plugin"),
    ],
)
def test_a_broken_plugin_is_named_and_breaks_nothing_else(
    options: tuple[object, ...], said: str, plugin: None, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    budget = () if "--noise" in options else ("--weight-bits", 4, "--activation-bits", 8)
    command = ("allocate", cnn_file, "--data", f"npz:{image_file}?count=16", *budget)
    assert_one_line(run_inside(*command, *options, "-o", tmp_path / "out"), 2, said)
    assert not (tmp_path / "out").exists()
    gone = run_inside("handoff", cnn_file, "--to", "gone", "-o", tmp_path / "h")
    assert_one_line(gone, 2, "plug-in gone of package my-plugin", "no_such_module")
    assert run_inside("handoff", cnn_file, "--to", "csv", "-o", tmp_path / "csv").returncode == 0


def test_what_is_called_must_be_callable(plugin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Registry("nowhere", {}, "mpq_onnx.noise_models")
    with pytest.raises(PluginError, match=r"plug-in none of package my-plugin .* cannot be called"):
        table["none"]
