"""What the sixth tester of the commands found: noise on networks that are float yet, bounds of cost tables, goals, messages."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from test_cli import assert_one_line, run_inside

from mpq_onnx.runs import allocating_energy

QUICK = ("--effort", "quick", "--repeats", 1)
BITS = ("--weight-bits", 8, "--activation-bits", 8)


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
    searched = ("search", cnn_file, *data, "--test", data[1], "--min", "top1=0.01", *limited, "-o", out)
    assert_one_line(run_inside(*searched, "--max", "energy_uj=1e-6"), 2, "cannot be reached")
    mended = run_inside(*searched, "--max", "energy_uj=1000", "--from", 9, "--to", 10)
    assert mended.returncode == 0, mended.stderr


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
    limited = (*search, "--costs", table, "--max", "energy_uj=1000", "--min", "top1=0.01")
    assert run_inside(*limited, "-o", tmp_path / "limited").returncode == 0
    assert {each.name for each in (tmp_path / "limited" / "probes").iterdir() if each.is_dir()} == {"2", "3"}
    assert_one_line(
        run_inside(*limited, "--from", 1, "-o", tmp_path / "other"), 2, "--from 1:", "smallest", "2"
    )


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
