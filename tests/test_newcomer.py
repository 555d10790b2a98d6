"""What newcomers stumbled on: files of two results in one folder, settings that contradict each other, labels of tables."""

import json
from pathlib import Path

import pytest
from test_cli import assert_one_line, run_inside

FAST = ("--rounding", "nearest", "--no-bias-correction", "--method", "uniform")
BITS = ("--weight-bits", 4, "--activation-bits", 8)


def run(*arguments: object) -> str:
    """stdout of a command that ends well."""
    done = run_inside(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def data(image_file: Path) -> str:
    return f"npz:{image_file}?count=64"


def calibrated(model: Path, data: str, path: Path) -> Path:
    run("calibrate", model, "--data", data, "--observer", "minmax", "-o", path)
    return path


def test_a_calibration_that_was_measured_otherwise_is_refused(
    cnn_file: Path, data: str, tmp_path: Path
) -> None:
    given = calibrated(cnn_file, data, tmp_path / "c.json")
    command = ("allocate", cnn_file, "--data", data, *BITS, *FAST, "--calibration", given)
    refused = run_inside(*command, "-o", tmp_path / "no")
    assert_one_line(refused, 2, "was measured with observer minmax, and mse is wanted")
    assert not (tmp_path / "no").exists()
    run(*command, "--observer", "minmax", "-o", tmp_path / "out")
    # The configuration does the same again, on the same calibration.
    assert str(given) in (tmp_path / "out" / "config.yaml").read_text()
    run("allocate", "--config", tmp_path / "out" / "config.yaml", cnn_file, "-o", tmp_path / "again")
    for name in ("model.onnx", "allocation.json", "calibration.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    document = json.loads((tmp_path / "out" / "allocation.json").read_text())
    document["settings"]["activation_observer"] = "mse"
    (tmp_path / "out" / "edited.json").write_text(json.dumps(document))
    edited = run_inside("apply", cnn_file, tmp_path / "out" / "edited.json", "-o", tmp_path / "a.onnx")
    assert_one_line(edited, 2, "calibration.json: was measured with observer minmax")


def test_a_folder_holds_one_result(cnn_file: Path, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("allocate", cnn_file, "--data", data, *BITS, *FAST, "--keep-candidates", "-o", out)
    assert (out / "candidates").is_dir() and (out / "allocation.json").is_file()
    (out / "notes.txt").write_text("mine")
    run(
        "allocate", cnn_file, "--data", data, "--noise", "shot", "--energy-per-mac", 50, "--method", "uniform", "--repeats", 1,
        "-o", out,
    )  # fmt: skip
    left = {path.name for path in out.iterdir()}
    assert left == {
        "config.yaml",
        "energy.json",
        "model.onnx",
        "card.json",
        "card.md",
        "result.json",
        "notes.txt",
    }
    run("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", out)
    assert not (out / "energy.json").exists() and (out / "notes.txt").read_text() == "mine"


def test_a_hand_off_replaces_an_earlier_one(cnn_file: Path, data: str, tmp_path: Path) -> None:
    run("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", tmp_path / "out")
    model, folder = tmp_path / "out" / "model.onnx", tmp_path / "handed"
    run("handoff", model, "--to", "qcdq", "--examples", 3, "-o", folder)
    (folder / "mine.txt").write_text("mine")
    run("handoff", model, "--to", "json", "--examples", 1, "-o", folder)
    manifest = json.loads((folder / "handoff.json").read_text())
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {*manifest["files"], "handoff.json", "mine.txt"}


def test_what_could_not_be_measured_and_what_it_was_compared_with(
    cnn_file: Path, data: str, tmp_path: Path
) -> None:
    said = run("evaluate", cnn_file, "--data", data, "--task", "binary-classification")
    assert "NOTE: nothing is measured by the labels" in said
    run("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", tmp_path / "one")
    table = run("evaluate", cnn_file, "--data", data, "--baseline", tmp_path / "one" / "model.onnx")
    (row,) = (line for line in table.splitlines() if line.startswith("model.onnx"))
    assert row.split()[1:3] == ["4", "8"]
    assert "float" in run("evaluate", tmp_path / "one" / "model.onnx", "--data", data, "--baseline", cnn_file)


def test_edits_that_say_what_cannot_be(cnn_file: Path, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(
        "allocate", cnn_file, "--data", data, *BITS, *FAST, "--noise", "shot", "--energy-per-mac", 50,
        "--energy-levels", "repeats", "--repeats", 1, "-o", out,
    )  # fmt: skip
    energies = json.loads((out / "energy.json").read_text())
    quantized = out / "digital" / "model.onnx"
    run("apply", quantized, out / "energy.json", "-o", tmp_path / "noisy.onnx")
    assert (tmp_path / "noisy.card.md").is_file() and (tmp_path / "noisy.card.json").is_file()
    assert_one_line(
        run_inside("apply", cnn_file, out / "energy.json", "-o", tmp_path / "no.onnx"),
        3,
        "digital/model.onnx",
    )
    energies["nodes"][0]["energy_per_mac"] = 13.64
    (tmp_path / "e.json").write_text(json.dumps(energies))
    wrong = run_inside("apply", quantized, tmp_path / "e.json", "-o", tmp_path / "no.onnx")
    assert_one_line(wrong, 3, "e.json: node", "13.64", "repeats")
    document = json.loads((out / "digital" / "allocation.json").read_text())
    entry = next(each for each in document["nodes"] if each["weight"] is None and each["activation"])
    entry["weight_bits"] = 4
    (out / "digital" / "edited.json").write_text(json.dumps(document))
    wrong = run_inside("apply", cnn_file, out / "digital" / "edited.json", "-o", tmp_path / "no.onnx")
    assert_one_line(wrong, 3, "edited.json: node", "the entry has no weight")


def test_nothing_to_resume_is_said(cnn_file: Path, data: str, tmp_path: Path) -> None:
    done = run_inside("allocate", cnn_file, "--data", data, *BITS, *FAST, "--resume", "-o", tmp_path / "out")
    assert done.returncode == 0 and "nothing to go on with" in done.stderr


def test_a_sweep_shows_the_widths_below_energies(cnn_file: Path, data: str, tmp_path: Path) -> None:
    import mpq_onnx

    found = mpq_onnx.sweep(
        cnn_file,
        {
            "data": data, "weight_bits": 6, "activation_bits": 8, "noise": "thermal", "energy_per_mac": 50,
            "method": "uniform", "rounding": "nearest", "repeats": 1,
        },
        tmp_path / "sweep",
    )  # fmt: skip
    (row,) = found.rows
    assert (
        row["mean_weight_bits"] <= 6 and row["mean_activation_bits"] <= 8 and row["mean_energy_per_mac"] == 50
    )
