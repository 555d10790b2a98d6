"""What the sixth tester of the commands found: noise on networks that are float yet, bounds of cost tables, goals, messages."""

import json
from pathlib import Path

import pytest
from test_cli import assert_one_line, run_inside

from mpq_onnx.runs import allocating_energy

QUICK = ("--effort", "quick", "--repeats", 1)
BITS = ("--weight-bits", 8, "--activation-bits", 8)


@pytest.fixture
def data(image_file: Path) -> tuple[object, ...]:
    return "--data", f"npz:{image_file}?count=48"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--noise", "thermal", "--weight-bits", 8), ("thermal noise at node stem", "--activation-bits 8")),
        (("--noise", "weight", "--activation-bits", 8), ("weight noise at node stem", "--weight-bits 8")),
        (("--noise", "thermal", *BITS, "--exclude", "fc"), ("at node fc", "exclude")),
    ],
)
def test_ranges_that_no_quantizer_will_have_are_refused_before_any_work(
    arguments: tuple[object, ...], parts: tuple[str, ...], data: tuple[object, ...], cnn_file: Path, tmp_path: Path
) -> None:
    for command in (("allocate", "--energy-per-mac", 2), ("search", "--test", data[1], "--min", "top1=0.1")):
        done = run_inside(command[0], cnn_file, *data, *command[1:], *arguments, *QUICK, "-o", tmp_path / "out")
        assert_one_line(done, 2, *parts)
        assert "calibrate" not in done.stderr and not (tmp_path / "out").exists()


def test_what_a_refused_noisy_run_quantized_goes(
    data: tuple[object, ...], cnn_file: Path, tmp_path: Path
) -> None:
    table, out = tmp_path / "costs.csv", tmp_path / "out"
    nodes = ("stem", "inner", "depthwise", "fc")
    rows = [f"{node},{energy},{energy}" for node in nodes for energy in (1, 100)]
    table.write_text("\n".join(["node,energy_per_mac,energy_uj", *rows, ""]))
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
    assert run_inside("allocate", cnn_file, *data, *BITS, "--effort", "quick", "-o", own / "digital").returncode == 0
    refused = run_inside("allocate", cnn_file, *data, *noise, "--weight-bits", 6, "-o", own)
    assert_one_line(refused, 2, "another result")
    assert (own / "digital" / "result.json").is_file()
