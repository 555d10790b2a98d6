"""The session of docs/python.md runs as it stands, its functions are all there, and the CI examples do what they say."""

import contextlib
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import mpq_onnx

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text()
GATE = ROOT / "examples" / "ci" / "gate.sh"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page's code was run in, with less data than the example has."""
    folder = tmp_path_factory.mktemp("session")
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.syspath_prepend(ROOT / "examples")
        patch.chdir(folder)
        patch.setattr("digits_cnn.TRAINING_SPEC", "digits?count=128")
        patch.setattr("digits_cnn.TEST_SPEC", "digits?start=1700")
        exec(code, {"__name__": "__main__"})
    (folder / "stdout.txt").write_text(output.getvalue())
    return folder


def test_the_session_runs(session: Path) -> None:
    text = (session / "stdout.txt").read_text()
    assert 0 <= float(re.findall(r"same answer as float ([\d.]+)", text)[0]) <= 1
    assert "aJ an example" in text and "layers.json" in text
    assert (session / "handoff-qonnx" / "model.onnx").is_file()


def test_the_page_names_every_function_and_nothing_else() -> None:
    table = PAGE.partition("## A session")[0]
    named = set(re.findall(r"`([a-z_]+)\(", table))
    functions = {name for name in mpq_onnx.__all__ if name[0].islower() and not name.startswith("load_")}
    assert named == functions
    assert all(f"`{name}`" in table for name in mpq_onnx.__all__ if name.startswith("load_"))


def test_every_function_takes_paths(session: Path, tmp_path: Path) -> None:
    """What the page shows with texts, with pathlib's paths."""
    data, model, digital = "digits?count=64", tmp_path / "again.onnx", tmp_path / "digital"
    exported = mpq_onnx.export(session / "digits.onnx", model)
    assert (
        exported.path == str(model)
        and exported.metadata == mpq_onnx.export(str(model), tmp_path / "same.onnx").metadata
    )
    calibration = tmp_path / "calibration.json"
    mpq_onnx.calibrate(model, data, calibration)
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False)
    mpq_onnx.allocate(model, data, digital, weight_bits=4, calibration=calibration, options=options)
    quantized, allocation = digital / "model.onnx", digital / "allocation.json"
    assert mpq_onnx.load_allocation(allocation).mean_weight_bits == 4
    mpq_onnx.apply(model, allocation, tmp_path / "applied.onnx", calibration=calibration)
    assert mpq_onnx.evaluate(quantized, data, baseline=model).evaluation.examples == 64
    assert mpq_onnx.compare(model, quantized, data)
    assert mpq_onnx.card(quantized)["model"]["bytes"] == quantized.stat().st_size
    mpq_onnx.handoff(quantized, tmp_path / "handoff", to="csv")
    assert not list(tmp_path.glob("*.tmp"))


def test_all_other_functions_say_that_they_take_paths() -> None:
    """As the ones above do: what is a file or a folder is a text or a path."""
    files = {
        "model",
        "exact",
        "changed",
        "allocation",
        "output",
        "folder",
        "file",
        "path",
        "calibration",
        "baseline",
    }
    for name in mpq_onnx.__all__:
        if name[0].islower():
            for parameter in inspect.signature(getattr(mpq_onnx, name)).parameters.values():
                if parameter.name in files:
                    assert "PathLike" in str(parameter.annotation), (name, parameter)


def gate(
    session: Path, output: Path, *folders: Path, test: str = "digits?start=1700", **limits: str
) -> subprocess.CompletedProcess:
    """Run the script, with the commands of `folders` before ours."""
    path = [*map(str, folders), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        **os.environ, "PATH": os.pathsep.join(path), "ALLOCATE": "--method uniform --rounding nearest", **limits,
    }  # fmt: skip
    return subprocess.run(
        ["sh", GATE, session / "digits.onnx", "digits?count=64", test, output],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def passed(session: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script wrote for a network that reaches all limits."""
    folder = tmp_path_factory.mktemp("passed")
    result = gate(session, folder, MIN_TOP1="0", MIN_AGREEMENT="0", MAX_BYTES="60000")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_the_ci_example_passes_and_keeps_card_and_files(passed: Path) -> None:
    metrics = json.loads((passed / "evaluation.json").read_text())["evaluation"]["metrics"]
    assert 0 <= metrics["top1"]["value"] <= 1
    assert "## weights" in (passed / "card.md").read_text().lower()
    assert (passed / "handoff" / "layers.json").is_file()


@pytest.mark.slow
def test_the_ci_example_fails_on_accuracy_and_on_size(session: Path, passed: Path, tmp_path: Path) -> None:
    """On limits that no network reaches: what the session's has learned is another matter on every processor.

    The quantized network is the other run's: export and allocate need not make it anew.
    """
    output = tmp_path / "output"
    output.mkdir()
    shutil.copy(passed / "float.onnx", output)
    shutil.copytree(passed / "quantized", output / "quantized")
    command = tmp_path / "mpq-onnx"
    command.write_text(
        "#!/bin/sh\ncase $1 in export | allocate) exit 0 ;; esac\n"
        f'exec "{Path(sys.executable).parent}/mpq-onnx" "$@"\n'
    )
    command.chmod(0o755)
    one = np.full((2, 1, 8, 8), 0.5, np.float32)
    contradicting = tmp_path / "contradicting.npz"
    np.savez(contradicting, images=one, labels=[0, 1])
    limits = {"MIN_TOP1": "1", "MIN_AGREEMENT": "0", "MAX_BYTES": "1000"}
    result = gate(session, output, tmp_path, test=f"npz:{contradicting}", **limits)
    assert result.returncode == 1
    assert "gate failed: top1" in result.stderr and "gate failed: bytes" in result.stderr
    # What a person wants to look at then.
    assert "## weights" in (output / "card.md").read_text().lower()
    assert json.loads((output / "evaluation.json").read_text())["gates"]
    assert (output / "handoff" / "layers.json").is_file()


@pytest.mark.parametrize(
    ("name", "called"), [("github-actions", "gate.sh"), ("github-actions-light", "judge.sh")]
)
def test_the_workflows_call_the_scripts(name: str, called: str) -> None:
    workflow = yaml.safe_load((GATE.parent / f"{name}.yml").read_text())
    (job,) = workflow["jobs"].values()
    (step,) = [step for step in job["steps"] if called in str(step.get("run"))]
    scripts = GATE.read_text() + (GATE.parent / "judge.sh").read_text()
    assert [name for name in step["env"] if name not in scripts] == []
    uploads = [step for step in job["steps"] if "upload-artifact" in str(step.get("uses"))]
    assert uploads[0]["if"] == "always()"
    assert uploads[0]["with"]["path"] == step["run"].split()[-1]


def test_how_images_become_inputs_is_passed_through(session: Path, tmp_path: Path) -> None:
    """To a stand-in that writes down what it is called with."""
    command = tmp_path / "mpq-onnx"
    command.write_text('#!/bin/sh\nfor each in "$@"; do echo "$each"; done >> "$CALLS"\n')
    command.chmod(0o755)
    preprocess, calls = "layout=nhwc&mean=0.5,0.5,0.5&std=0.25", tmp_path / "calls.txt"
    done = gate(session, tmp_path / "output", tmp_path, PREPROCESS=preprocess, CALLS=str(calls))
    assert done.returncode == 0, done.stderr
    lines = calls.read_text().splitlines()
    assert lines[lines.index("--preprocess") + 1] == preprocess
    assert [each for each in ("export", "allocate", "evaluate", "card", "handoff") if each not in lines] == []
    calls.unlink()
    gate(session, tmp_path / "output", tmp_path, CALLS=str(calls))
    assert "--preprocess" not in calls.read_text()
