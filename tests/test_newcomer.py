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
    assert_one_line(refused, 2, "was measured with observer minmax, not mse")
    assert not (tmp_path / "no").exists()
    run(*command, "--observer", "minmax", "-o", tmp_path / "out")
    # The configuration does the same again, on the same calibration.
    assert "calibration: ../c.json" in (tmp_path / "out" / "config.yaml").read_text()
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
    noisy = (
        "allocate", cnn_file, "--data", data, "--noise", "shot", "--energy-per-mac", 50, "--method", "uniform", "--repeats", 1,
        "-o", out,
    )  # fmt: skip
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert_one_line(run_inside(*noisy), 2, "holds another result", "--overwrite")
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    run(*noisy, "--overwrite")
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
    run("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", out, "--overwrite")
    assert not (out / "energy.json").exists() and (out / "notes.txt").read_text() == "mine"


def test_a_hand_off_replaces_an_earlier_one(cnn_file: Path, data: str, tmp_path: Path) -> None:
    run("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", tmp_path / "out")
    model, folder = tmp_path / "out" / "model.onnx", tmp_path / "handed"
    run("handoff", model, "--to", "qcdq", "--examples", 3, "-o", folder)
    (folder / "mine.txt").write_text("mine")
    other = ("handoff", model, "--to", "json", "--examples", 1, "-o", folder)
    assert_one_line(run_inside(*other), 2, "holds a hand-off", "--overwrite")
    assert_one_line(run_inside(*other[:-1], tmp_path / "out"), 2, "holds another result")
    run(*other, "--overwrite")
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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bias-correction: 2", "2 is neither true nor false"),
        ("seed: 1.5", "1.5 is no whole number"),
        ("steps: 10.7", "10.7 is no whole number"),
        ("steps: true", "True is no number"),
        ("embedding-bits: 7.6", "no whole number"),
        ("bit-choices: [2, x]", "'x' is no number"),
        ("seed: -1", "seed -1: must be at least 0"),
        ("seed: 99999999999999999999", "must be at most"),
    ],
)
def test_a_configuration_is_taken_as_it_says_or_not_at_all(
    line: str, said: str, cnn_file: Path, data: str, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(f"weight-bits: 3\ndata: {data}\n{line}\n")
    done = run_inside("allocate", cnn_file, "--config", tmp_path / "c.yaml", "-o", tmp_path / "out")
    assert_one_line(done, 2, said)


def test_one_width_is_a_choice_too(cnn_file: Path, data: str, tmp_path: Path) -> None:
    text = (
        f"weight-bits: 4\ndata: {data}\nbit-choices: 3\nmethod: uniform\nrounding: nearest\nfirst-last: 8\n"
    )
    (tmp_path / "c.yaml").write_text(text)
    run("allocate", cnn_file, "--config", tmp_path / "c.yaml", "-o", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "allocation.json").read_text())
    assert {entry["weight_bits"] for entry in document["nodes"] if entry["weight"]} == {3, 8}


@pytest.mark.parametrize("arguments", [("--seed", -1), ("--seed", 2**40)])
@pytest.mark.parametrize("command", ["allocate", "calibrate", "evaluate"])
def test_seeds_out_of_range(
    command: str, arguments: tuple[object, ...], cnn_file: Path, data: str, tmp_path: Path
) -> None:
    more = () if command == "evaluate" else ("-o", tmp_path / "out")
    bits = ("--weight-bits", 3) if command == "allocate" else ()
    assert_one_line(run_inside(command, cnn_file, "--data", data, *more, *bits, *arguments), 2, "seed")


def test_energies_and_ranges_that_noise_cannot_have(cnn_file: Path, data: str, tmp_path: Path) -> None:
    command = ("allocate", cnn_file, "--data", data, "--noise", "shot", "-o", tmp_path / "out")
    for energy in ("1e-300", "1e39", "nan"):
        assert_one_line(run_inside(*command, "--energy-per-mac", energy), 2, "--energy-per-mac")
    dynamic = run_inside(*command, "--energy-per-mac", 5, *BITS, "--activation-ranges", "dynamic")
    assert_one_line(dynamic, 2, "activation-ranges dynamic")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("fact", "value"), [("macs", 7_000_000), ("fan_in", 900), ("op_type", "Einsum")])
def test_facts_of_energies_are_the_models(
    fact: str, value: object, cnn_file: Path, data: str, tmp_path: Path
) -> None:
    noise = ("--noise", "shot", "--energy-per-mac", 50, "--method", "uniform", "--repeats", 1)
    run("allocate", cnn_file, "--data", data, *noise, "-o", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "energy.json").read_text())
    document["nodes"][0][fact] = value
    (tmp_path / "e.json").write_text(json.dumps(document))
    edited = run_inside("apply", cnn_file, tmp_path / "e.json", "-o", tmp_path / "no.onnx")
    assert_one_line(edited, 3, f"{fact} is {value} in the allocation", "only energies may be edited")


def test_a_whole_budget_is_the_same_budget_everywhere(cnn_file: Path, data: str, tmp_path: Path) -> None:
    import mpq_onnx

    mpq_onnx.sweep(
        cnn_file,
        {
            "data": data, "method": "uniform", "rounding": "nearest", "repeats": 1,
            "cases": [{"noise": "shot", "energy_per_mac": 4}, {"weight_bits": 6, "bias_correction": False}],
        },
        tmp_path / "sweep",
    )  # fmt: skip
    for name, files in (("0001", ["energy.json", "model.onnx"]), ("0002", ["allocation.json", "model.onnx"])):
        swept = tmp_path / "sweep" / "runs" / name
        run("allocate", cnn_file, "--config", swept / "config.yaml", "-o", tmp_path / name)
        for file in [*files, "card.json"]:
            assert (tmp_path / name / file).read_bytes() == (swept / file).read_bytes(), (name, file)
