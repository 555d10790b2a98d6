"""The light way to install: commands that read and run files need requirements-light.txt and nothing more."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import run_inside

import mpq_onnx
from mpq_onnx.packages import missing_package
from mpq_onnx.runs.configuration import read_configuration

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements-light.txt"
NEAREST = ("--method", "uniform", "--rounding", "nearest", "--no-bias-correction")


def light(*commands: tuple[object, ...]) -> dict:
    """What light_run prints of these commands: a process that finds the packages of the light way alone."""
    given = json.dumps([[str(each) for each in command] for command in commands])
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("light_run.py"), REQUIREMENTS, given],
        capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def allocated(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    """A folder with what a machine that has torch allocated: bits, and energies."""
    folder = tmp_path_factory.mktemp("light")
    data = f"npz:{image_file}?count=64"
    exported = ("export", cnn_file, "-o", folder / "float.onnx")
    bits = ("--weight-bits", 4, "--activation-bits", 8, *NEAREST, "-o", folder / "bits")
    noise = ("--noise", "shot", "--energy-per-mac", 50, "--method", "uniform", "--repeats", 1)
    for command in (
        exported,
        ("allocate", folder / "float.onnx", "--data", data, *bits),
        ("allocate", folder / "float.onnx", "--data", data, *noise, "-o", folder / "noisy"),
    ):
        done = run_inside(*command)
        assert done.returncode == 0, done.stderr
    return folder


def test_files_are_read_run_and_judged_without_torch(
    allocated: Path, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    model, exact, data = (
        allocated / "bits" / "model.onnx",
        allocated / "float.onnx",
        f"npz:{image_file}?count=64",
    )
    again, noisy = tmp_path / "again.onnx", tmp_path / "noisy.onnx"
    commands: tuple[tuple[object, ...], ...] = (
        ("export", cnn_file, "-o", tmp_path / "float.onnx"),
        ("evaluate", model, "--data", data, "--baseline", exact, "--min", "agreement=0", "--json"),
        ("evaluate", allocated / "noisy" / "model.onnx", "--data", data, "--repeats", 2, "--snr"),
        ("card", model),
        ("compare", exact, model, "--data", data),
        ("calibrate", exact, "--data", data, "-o", tmp_path / "calibration.json"),
        ("handoff", model, "--to", "qcdq", "--data", data, "-o", tmp_path / "handed"),
        ("apply", exact, allocated / "bits" / "allocation.json", "-o", again),
        ("apply", exact, allocated / "noisy" / "energy.json", "-o", noisy),
        ("targets", "onnxruntime-cpu"),
    )
    found = light(*commands)
    for command, (code, _, errors) in zip(commands, found["results"], strict=True):
        assert code == 0, (command, errors)
    assert found["unused"] == []
    # What the machine with torch wrote, byte for byte but for the facts of the data that it saw.
    for ours, theirs in ((again, model), (noisy, allocated / "noisy" / "model.onnx")):
        assert_same_numbers(ours, theirs)


def assert_same_numbers(one: Path, other: Path) -> None:
    import onnx

    first, second = onnx.load(one), onnx.load(other)
    for model in (first, second):
        del model.metadata_props[:]
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_what_is_missing_is_one_line_with_the_command(cnn_file: Path, tmp_path: Path) -> None:
    commands: dict[str, tuple[object, ...]] = {
        "torch": (
            "allocate",
            cnn_file,
            "--data",
            "random?count=8",
            "--weight-bits",
            4,
            "-o",
            tmp_path / "out",
        ),
        "scikit-learn": ("evaluate", cnn_file, "--data", "digits"),
    }
    for package, (code, output, errors) in zip(commands, light(*commands.values())["results"], strict=True):
        assert code == 2 and output == ""
        (said,) = (line for line in errors.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line))
        assert f"pip install {package}" in said
    assert not (tmp_path / "out").exists()


def test_python_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mpq_onnx._HOMES, "allocate", "not_there")
    with pytest.raises(ModuleNotFoundError):  # a part of ours that is missing is our fault, and no advice
        _ = mpq_onnx.allocate
    said = missing_package(ModuleNotFoundError("No module named 'torch.fx'", name="torch.fx"))
    assert isinstance(said, mpq_onnx.MpqOnnxError) and isinstance(said, ImportError)
    assert "pip install torch" in str(said) and said.exit_code == 2


def specifiers(lines: list[str]) -> dict[str, str]:
    found = (re.fullmatch(r"([\w.-]+)([^;]*)(;.*)?", line) for line in lines)
    return {each.group(1): each.group(2) for each in found if each is not None}


def test_the_list_asks_for_what_the_whole_package_asks_for() -> None:
    project = read_configuration(ROOT / "pyproject.toml")["project"]
    whole = specifiers([each.replace("onnxruntime-gpu", "onnxruntime") for each in project["dependencies"]])
    ours = specifiers(
        [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    )
    assert ours.items() <= whole.items()
    assert not {"torch", "torchvision", "transformers", "pytorchcv", "onnxruntime-gpu"} & ours.keys()


def test_the_area_under_the_curve_with_ties_and_infinities() -> None:
    """Against scikit-learn, which the light way has not."""
    from sklearn.metrics import roc_auc_score

    from mpq_onnx.runtime.scores.binary import BinaryScores

    rng = np.random.default_rng(0)
    logits = rng.integers(-3, 4, 500).astype(np.float64)
    labels = (rng.random(500) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    scores = BinaryScores("binary-classification")
    scores.update(logits, labels)
    assert scores.metrics()["auroc"].value == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    ends = np.where(logits == 3, np.inf, np.where(logits == -3, -np.inf, logits))
    scores = BinaryScores("binary-classification")
    scores.update(ends, labels)
    assert scores.metrics()["auroc"].value == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
