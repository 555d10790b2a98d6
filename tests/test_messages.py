"""What is said, and when: guesses at what was meant, notes before the work, how much is told, what an earlier run keeps."""

import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image
from test_cli import assert_one_line, run_inside, without_stages

import mpq_onnx
from mpq_onnx.datasets.spec import parse_spec, spec_parts
from mpq_onnx.datasets.spec_paths import with_paths
from mpq_onnx.errors import DataError
from mpq_onnx.progress import counter, duration
from mpq_onnx.runs.chance_notes import chance_notes
from mpq_onnx.runs.recorded_paths import found_from, recorded

FAST = ("--rounding", "nearest", "--no-bias-correction", "--method", "uniform")
BITS = ("--weight-bits", 4, "--activation-bits", 8)


@pytest.fixture
def data(image_file: Path) -> str:
    return f"npz:{image_file}?count=64"


@pytest.fixture
def guessed(image_file: Path, tmp_path: Path) -> Path:
    """The images with labels that have nothing to do with them."""
    stored = np.load(image_file)
    labels = np.random.default_rng(3).integers(0, 6, len(stored["labels"]))
    np.savez(tmp_path / "guessed.npz", images=stored["images"], labels=labels)
    return tmp_path / "guessed.npz"


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_float_network_that_guesses_is_said_so(
    cnn_file: Path, guessed: Path, data: str, tmp_path: Path
) -> None:
    asked = "of 6 classes, as guessing has: layout, normalisation, label order?"
    evaluated = run_inside("evaluate", cnn_file, "--data", guessed)
    assert (
        evaluated.returncode == 0 and "NOTE: the file has" in evaluated.stdout and asked in evaluated.stdout
    )
    allocated = run_inside("allocate", cnn_file, "--data", guessed, *BITS, *FAST, "-o", tmp_path / "out")
    assert "NOTE: the float file has" in allocated.stdout and asked in allocated.stdout
    early = allocated.stderr.partition("candidate uniform")[0]
    assert asked in early  # before the work, not after it
    against = run_inside(
        "evaluate", tmp_path / "out" / "model.onnx", "--data", guessed, "--baseline", cnn_file
    )
    assert "NOTE: the float file has" in against.stdout
    assert asked not in run_inside("evaluate", cnn_file, "--data", data).stdout


@pytest.mark.parametrize(("right", "count", "classes", "said"), [
    (10, 100, 10, True), (30, 100, 10, False), (0, 400, 1000, True), (1, 400, 1000, True), (60, 400, 1000, False),
    (12, 20, 2, False), (10, 20, 2, True), (55, 100, 2, True), (70, 100, 2, False),
])  # fmt: skip
def test_what_guessing_reaches(right: int, count: int, classes: int, said: bool) -> None:
    from mpq_onnx.runtime.evaluation import Evaluation
    from mpq_onnx.runtime.statistics import Estimate

    found = Evaluation(count, {"top1": Estimate.share(right, count)}, "data", 1.0, None, classes=classes)
    assert bool(chance_notes(found)) is said


@pytest.mark.parametrize("limit", ["top1=90", "accuracy=95", "cosine=99.5", "agreement=1.5"])
def test_gates_in_percent_are_wrong_usage(limit: str, cnn_file: Path) -> None:
    value = float(limit.partition("=")[2]) / 100
    result = run_inside("evaluate", cnn_file, "--data", "npz:absent.npz", "--min", limit)
    assert_one_line(result, 2, f"--min {limit}", "shares go from 0 to 1", f"={value:g}")


def test_budgets_that_cannot_be_spent_are_said_before_the_work(
    cnn_file: Path, data: str, tmp_path: Path
) -> None:
    options = ("--weight-bits", 8.5, "--activation-bits", 12, *FAST, "-o", tmp_path / "out")
    said = run_inside("allocate", cnn_file, "--data", data, *options)
    for name in ("--weight-bits 8.5", "--activation-bits 12"):
        assert f"NOTE: {name}: cannot be spent; the widest choice is 8" in said.stderr.partition("read ")[0]
        assert f"NOTE: {name}: cannot be spent" in said.stdout


def test_quiet_leaves_the_result_and_verbose_tells_times(cnn_file: Path, data: str, tmp_path: Path) -> None:
    command = ("evaluate", cnn_file, "--data", data)
    usual, before, after = run_inside(*command), run_inside("-q", *command), run_inside(*command, "--quiet")
    assert "evaluate: 1 batch" in usual.stderr and before.stderr == after.stderr == ""
    assert [line for line in before.stdout.splitlines() if "per second" not in line] == [
        line for line in usual.stdout.splitlines() if "per second" not in line
    ]
    verbose = run_inside("-v", *command)
    assert "evaluate: took" in verbose.stderr and "took" not in usual.stderr
    assert logging.getLogger("mpq_onnx").level == logging.NOTSET
    assert_one_line(run_inside("-q", *command, "-v"), 2, "-v and -q contradict each other")
    missed = run_inside("-q", *command, "--min", "top1=1")
    assert missed.returncode == 1 and missed.stderr.count("\n") == 1 and "gate failed" in missed.stderr
    trained = run_inside(
        "allocate",
        cnn_file,
        "--data",
        data,
        *BITS,
        "--steps",
        2,
        "--rounding",
        "nearest",
        "-v",
        "-o",
        tmp_path / "out",
    )
    assert "loss" in trained.stderr and "costs of widths" in trained.stderr


def test_a_long_stage_says_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = iter(float(10 * each) for each in range(20))
    monkeypatch.setattr("mpq_onnx.progress.time.monotonic", lambda: next(now))
    with caplog.at_level(logging.INFO, "mpq_onnx"), counter("wait", 7, "step") as bar:
        for _ in range(3):
            bar.update()
    assert [record.getMessage() for record in caplog.records] == ["wait: 7 steps", "wait: about 1 min left"]
    assert [duration(seconds) for seconds in (3, 12.3, 90, 5400)] == ["3 s", "12 s", "2 min", "1.5 h"]


def test_what_training_takes_is_said_before_it(
    cnn_file: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time of the float network's own pass: where that is long, here by decree."""
    monkeypatch.setattr("mpq_onnx.runs.time_notes.WORTH_SAYING", 0.0)
    options = (*BITS, "--rounding", "nearest", "--steps", 3, "--batch-size", 8, "-o", tmp_path / "out")
    said = run_inside("allocate", cnn_file, "--data", data, *options).stderr
    line = "method refined: costs on 48 and training on 24 examples, forwards and backwards, take at least"
    assert line in said and said.index(line) < said.index("costs of widths")


@pytest.mark.parametrize("command", ["allocate", "search", "sweep", "profile"])
def test_ctrl_c_says_how_to_go_on(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.core.Command.invoke", interrupted)
    monkeypatch.setattr("click.core.Group.invoke", interrupted)
    result = run_inside("-q", command, "model.onnx")
    wanted = "--resume goes on" if command == "allocate" else "the same command goes on"
    assert_one_line(result, 130, "interrupted", wanted)


def make_images(folder: Path) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / name / "1.png")
    return folder


def test_a_path_alone_has_the_kind_that_it_plainly_is_of(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "my data.npz"
    spaced.write_bytes(image_file.read_bytes())
    whole, part = run_inside("evaluate", cnn_file, "--data", f"npz:{spaced}", "--json"), None
    monkeypatch.chdir(tmp_path)
    part = run_inside("evaluate", cnn_file, "--data", "my data.npz?count=192", "--json")
    metrics = [json.loads(each.stdout)["evaluation"]["metrics"] for each in (whole, part)]
    assert metrics[0] == metrics[1]
    make_images(tmp_path / "folder")
    make_images(tmp_path / "net" / "val"), make_images(tmp_path / "net" / "train")
    (tmp_path / "a:b.npz").write_bytes(b"PK")
    (tmp_path / "no_suffix").write_bytes(image_file.read_bytes())
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    for text, kind in [
        ("my data.npz", "npz"), ("folder", "imagefolder"), ("net", "imagenet"), ("net?split=train", "imagenet"),
        ("a:b.npz", "npz"), ("no_suffix", "npz"), ("rows.csv?columns=c.json", "csv"), ("digits", "digits"),
        ("random?count=3", "random"), (f"npz:{spaced}", "npz"), ("absent.npz", "npz"),
    ]:  # fmt: skip
        assert parse_spec(text).kind == kind, text


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("rows.csv", "a,b\n", "csv:rows.csv?columns=FILE.json"),
        ("texts.tsv", "a\tb\n", "text:texts.tsv?separator=tab"),
        ("list.txt", "a.png 1\n", "imagelist:list.txt"),
        ("one.npy", "", "numpy.savez"),
        ("cat.png", "", "imagefolder:DIR"),
        ("dir/train.npz", "", "write npz:dir/train.npz"),
        ("dir/cat.png", "", "each class into a subfolder"),
        ("dir/other", "", "imagefolder:dir (one subfolder a class)"),
        ("other.bin", "", "may be of several kinds"),
    ],
)
def test_a_path_of_several_kinds_gets_the_specs_shown(
    name: str, content: str, shown: str, cnn_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    given = name.partition("/")[0]
    assert_one_line(run_inside("evaluate", cnn_file, "--data", given), 3, shown)


@pytest.mark.parametrize("text", ["", "nowhere", "a" * 5000, "x\0y", "kind", "C:\\data\\train"])
def test_what_is_no_spec_at_all(text: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_spec(text)
    assert "\n" not in str(caught.value)


def test_the_paths_of_a_spec_are_changed_and_nothing_else() -> None:
    for text, wanted in [
        ("npz:/a/b.npz?layout=nhwc", "npz:X/a/b.npz?layout=nhwc"), ("/a/b.npz", "X/a/b.npz"),
        ("digits?count=3", "digits?count=3"),
        ("python:my.module:make", "python:my.module:make"),
        ("imagefolder:d?classes=/c.txt&resize=8", "imagefolder:Xd?classes=X/c.txt&resize=8"),
        ("text:t.tsv?columns=0,1", "text:Xt.tsv?columns=0,1"), ("csv:t.csv?columns=c.json", "csv:Xt.csv?columns=Xc.json"),
        ("imagelist:l?root=/r&mean=0.5", "imagelist:Xl?root=X/r&mean=0.5"),
        ("t.csv?columns=/c.json", "Xt.csv?columns=X/c.json"),
    ]:  # fmt: skip
        assert with_paths(text, lambda path: f"X{path}") == wanted
        assert spec_parts(text)[1] in text


def test_recorded_paths_are_found_again_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "out"
    options = {
        "model": str(tmp_path / "m.onnx"), "data": f"npz:{tmp_path}/d.npz?count=3", "costs": str(folder / "c.csv"),
        "target": "finn", "seed": 3, "test": ["digits", f"{tmp_path}/x.npz"],
        "cases": [{"validation": f"npz:{tmp_path}/v.npz"}],
    }  # fmt: skip
    kept = recorded(options, folder)
    assert str(tmp_path) not in json.dumps(kept) and kept["costs"] == "./c.csv" and kept["target"] == "finn"
    monkeypatch.chdir("/")
    assert found_from(kept, folder) == options
    assert found_from({"data": "npz:train.npz"}, folder) == {"data": "npz:train.npz"}  # of the current folder


def test_no_file_of_a_result_has_an_absolute_path(cnn_file: Path, data: str, tmp_path: Path) -> None:
    """Nor the folder of any of them; and what was written does the same again, from another folder."""
    place = tmp_path / "secret place"
    place.mkdir()
    mpq_onnx.export(cnn_file, place / "float.onnx")
    out = place / "out"
    run = ("--data", data, *BITS, *FAST, "--keep-candidates")
    assert run_inside("allocate", place / "float.onnx", *run, "-o", out).returncode == 0
    noise = ("--noise", "shot", "--energy-per-mac", 50, "--method", "uniform", "--repeats", 1)
    assert (
        run_inside("allocate", out / "model.onnx", "--data", data, *noise, "-o", place / "noisy").returncode
        == 0
    )
    found = run_inside(
        "search", place / "float.onnx", "--data", data, "--test", data, "--min", "top1=0.1", "--tolerance", 0.9, *FAST,
        "--activation-bits", 8, "-o", place / "search",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    options = {"data": data, "weight_bits": 4, "method": "uniform", "rounding": "nearest"}
    mpq_onnx.sweep(place / "float.onnx", options, place / "sweep")
    mpq_onnx.handoff(out / "model.onnx", place / "handoff", to="json")
    given = re.escape(str(tmp_path.parent).encode())
    found_in = [
        path for path, content in files_of(place).items() if re.search(rb"(?<!\.\.)" + given, content)
    ]
    assert found_in == []
    again = run_inside(
        "allocate", "--config", out / "config.yaml", place / "float.onnx", "-o", place / "again"
    )
    assert again.returncode == 0, again.stderr
    assert (place / "again" / "model.onnx").read_bytes() == (out / "model.onnx").read_bytes()


def test_the_same_command_may_be_given_again(cnn_file: Path, data: str, tmp_path: Path) -> None:
    command = ("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", tmp_path / "out")
    assert run_inside(*command).returncode == 0
    first = (tmp_path / "out" / "model.onnx").read_bytes()
    assert run_inside(*command).returncode == 0
    assert (tmp_path / "out" / "model.onnx").read_bytes() == first
    path = tmp_path / "out" / "allocation.json"
    document = json.loads(path.read_text())
    document["nodes"][0]["weight_bits"] = 8
    path.write_text(json.dumps(document))
    assert_one_line(run_inside(*command), 2, "an allocation that was edited by hand", "--overwrite")
    assert json.loads(path.read_text())["nodes"][0]["weight_bits"] == 8


def test_a_folder_of_another_command_is_refused_and_never_mixed(
    cnn_file: Path, data: str, tmp_path: Path
) -> None:
    options = {"data": data, "weight-bits": 4, "method": "uniform", "rounding": "nearest"}
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(options))
    out = tmp_path / "out"
    sweep = ("sweep", cnn_file, "--config", config, "-o", out)
    allocate = ("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", out)
    assert run_inside(*sweep).returncode == 0
    (out / "mine").mkdir()
    before = files_of(out)
    refused = run_inside(*allocate)
    assert_one_line(refused, 2, "holds a sweep", "--overwrite")
    assert files_of(out) == before and (out / "mine").is_dir()
    assert run_inside(*allocate, "--overwrite").returncode == 0
    assert not (out / "runs").exists() and not (out / "results.csv").exists() and (out / "mine").is_dir()
    assert_one_line(run_inside(*sweep), 2, "holds another result")
    assert run_inside(*sweep, "--overwrite").returncode == 0
    assert not (out / "model.onnx").exists() and (out / "results.csv").exists()
    config.write_text(yaml.safe_dump({**options, "weight-bits": 5}))
    assert_one_line(run_inside(*sweep), 2, "another sweep", "--overwrite")
    assert run_inside(*sweep, "--overwrite").returncode == 0
    assert "0001" in {path.name for path in (out / "runs").iterdir()}


def test_a_refused_run_that_fails_leaves_what_is_overwritten(
    cnn_file: Path, data: str, tmp_path: Path
) -> None:
    """Results go when the new ones are whole, not before."""
    out = tmp_path / "out"
    assert run_inside("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", out).returncode == 0
    before = files_of(out)
    failed = run_inside("allocate", cnn_file, "--data", "npz:absent.npz", *BITS, "-o", out, "--overwrite")
    assert_one_line(failed, 3, "no such file")
    assert files_of(out) == before


def test_folders_of_the_users_own_are_no_results(cnn_file: Path, data: str, tmp_path: Path) -> None:
    """runs, probes, golden: names that a user's folder may have as well."""
    for name in ("runs", "golden", "digital", "candidates"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    command = ("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", tmp_path)
    assert run_inside(*command).returncode == 0
    assert all(
        (tmp_path / name / "mine.txt").is_file() for name in ("runs", "golden", "digital", "candidates")
    )
    source = tmp_path / "there" / "model.onnx"
    source.parent.mkdir()
    source.write_bytes(cnn_file.read_bytes())
    onto = ("allocate", source, "--data", data, *BITS, *FAST, "-o", source.parent)
    assert_one_line(run_inside(*onto), 2, "model.onnx", "--overwrite")
    assert onnx.load(source).graph.node[0].op_type == "Conv"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(cnn_file: Path, data: str, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    command = ("allocate", cnn_file, "--data", data, *BITS, *FAST, "-o", tmp_path / "locked" / "out")
    assert_one_line(run_inside(*command), 3, "cannot write")


def test_a_hand_edited_energy_allocation_is_called_so(cnn_file: Path, data: str, tmp_path: Path) -> None:
    noise = ("--noise", "shot", "--energy-per-mac", 50, "--method", "uniform", "--repeats", 1)
    out = tmp_path / "out"
    assert run_inside("allocate", cnn_file, "--data", data, *noise, "-o", out).returncode == 0
    document = json.loads((out / "energy.json").read_text())
    document["nodes"][0]["energy_per_mac"] = 77.0
    (tmp_path / "edited.json").write_text(json.dumps(document))
    done = run_inside("apply", cnn_file, tmp_path / "edited.json", "-o", tmp_path / "m.onnx")
    assert done.returncode == 0 and "edited by hand" in done.stdout, done.stderr
    assert "edited by hand" in run_inside("card", tmp_path / "m.onnx").stdout
    assert without_stages(done.stderr) == ""
