"""sweep: combinations, sharing, interruption, results; and configuration files."""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from test_cli import COMMAND, FAST, assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.report.pareto import mark_pareto
from mpq_onnx.runs.recorded_paths import found_from, recorded
from mpq_onnx.runs.sweep_plan import runs_of
from mpq_onnx.runs.sweeping import RUN_FILE


def configuration(image_file: Path, **options) -> dict:
    return {
        "data": f"npz:{image_file}?count=96", "test": f"npz:{image_file}", "weight-bits": [3, 4], "activation-bits": 6,
        "method": ["uniform", "water-filling"], "rounding": "nearest", **options,
    }  # fmt: skip


def write(path: Path, options: dict) -> Path:
    path.write_text(yaml.safe_dump(options))
    return path


def test_lists_multiply_and_cases_are_laid_over() -> None:
    found = list(
        runs_of(
            {
                "data": "random?count=4", "weight_bits": [3, 4], "seed": [0, 1],
                "cases": [{"method": "uniform"}, {"weight-bits": 5, "bit-choices": [[2, 5], [5, 8]]}, {"method": "uniform"}],
            }
        )
    )  # fmt: skip
    assert [run.name for run in found] == [
        f"{index:04d}" for index in range(1, 9)
    ]  # the third case repeats the first
    assert [(run.options["weight_bits"], run.options["seed"]) for run in found[:4]] == [
        (3, 0),
        (3, 1),
        (4, 0),
        (4, 1),
    ]
    assert {tuple(run.options["bit_choices"]) for run in found[4:]} == {(2, 5), (5, 8)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    """A sweep of four runs, one after the other, and what it said."""
    folder = tmp_path_factory.mktemp("whole")
    config = write(folder / "sweep.yaml", configuration(image_file))
    result = run_inside("sweep", cnn_file, "--config", config, "-o", folder / "out")
    assert result.returncode == 0, result.stderr
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_a_sweep_is_the_single_commands(whole: Path, cnn_file: Path, tmp_path: Path) -> None:
    said = (whole / "stdout.txt").read_text()
    assert "0004" in said and "Pareto" in said
    lines = [json.loads(line) for line in (whole / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["run"] for line in lines] == ["0001", "0002", "0003", "0004"]
    with (whole / "out" / "results.csv").open() as file:
        assert [row["top1"] for row in csv.DictReader(file)] == [str(line["top1"]) for line in lines]
    for line in lines:
        data = found_from(line, whole / "out")["data"]
        single = mpq_onnx.allocate(
            cnn_file, data, tmp_path / "single", overwrite=True, weight_bits=line["weight_bits"], activation_bits=6,
            options=mpq_onnx.AllocateOptions(method=line["method"], rounding="nearest"),
        )  # fmt: skip
        folder = whole / "out" / "runs" / line["run"]
        for name in ("allocation.json", "calibration.json"):
            assert (folder / name).read_bytes() == (Path(single.folder) / name).read_bytes()
        assert (folder / "model.onnx").read_bytes() == Path(single.model_path).read_bytes()
        assert line["examples"] == 192  # measured on the test data
    assert any(line["pareto"] for line in lines)


def test_a_killed_sweep_goes_on_and_ends_the_same(whole: Path, cnn_file: Path, tmp_path: Path) -> None:
    config = whole / "sweep.yaml"
    process = subprocess.Popen(
        [*COMMAND, *map(str, ("sweep", cnn_file, "--config", config, "--jobs", 2, "-o", tmp_path / "killed"))],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not list((tmp_path / "killed").glob(f"runs/*/{RUN_FILE}")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob(f"runs/*/{RUN_FILE}")}
    assert done
    assert run_inside("sweep", cnn_file, "--config", config, "-o", tmp_path / "killed").returncode == 0
    assert all(
        path.stat().st_mtime_ns == made for path, made in done.items()
    )  # finished runs are not run again
    for name in ("results.jsonl", "results.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (whole / "out" / name).read_bytes()


def test_noise_and_failing_runs(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    config = write(
        tmp_path / "sweep.yaml",
        {
            "data": f"npz:{image_file}?count=64", "energy-per-mac": [5, 50], "method": "uniform", "repeats": 1,
            "cases": [{"noise": "shot"}, {"noise": "thermal"}],
        },
    )  # fmt: skip
    result = run_inside("sweep", cnn_file, "--config", config, "-o", tmp_path / "out", "--json")
    assert (
        result.returncode == 1 and "2 runs failed" in result.stderr
    )  # thermal noise needs a quantized model
    rows = json.loads(result.stdout)["rows"]
    assert [row["mean_energy_per_mac"] for row in rows[:2]] == [pytest.approx(5), pytest.approx(50)]
    assert all("quantize" in row["error"] for row in rows[2:])


def test_bad_sweeps_stop_before_any_work(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    def start(**options) -> subprocess.CompletedProcess:
        config = write(tmp_path / "sweep.yaml", configuration(image_file, **options))
        return run_inside("sweep", cnn_file, "--config", config, "-o", tmp_path / "out")

    assert_one_line(start(**{"weight-bit": 3}), 2, "no option weight-bit", "did you mean weight-bits")
    assert_one_line(start(method=["uniform", "best"]), 2, "method best", "choose one of")
    assert_one_line(start(method=[]), 2, "method", "empty")
    assert_one_line(start(**{"weight-bits": [3, 1]}), 2, "cannot be reached")
    assert_one_line(start(data="npz:none.npz"), 3, "none.npz")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert_one_line(
        run_inside("sweep", cnn_file, "--config", tmp_path / "broken.yaml", "-o", tmp_path / "out"),
        2,
        "broken.yaml",
    )
    assert_one_line(
        run_inside("sweep", cnn_file, "--config", tmp_path / "a.ini", "-o", tmp_path / "out"), 2, ".yaml"
    )
    assert not (tmp_path / "out" / "runs").exists()


def test_another_sweeps_folder_is_refused(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options = {
        "data": f"npz:{image_file}?count=64",
        "weight_bits": 4,
        "method": "uniform",
        "rounding": "nearest",
    }
    mpq_onnx.sweep(cnn_file, options, folder)
    with pytest.raises(mpq_onnx.MpqOnnxError, match="another sweep"):
        mpq_onnx.sweep(cnn_file, {**options, "weight_bits": 5}, folder)


def test_two_targets_of_one_name_are_two_files(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    """Either of them changed is another sweep."""
    for number in (1, 2):
        (tmp_path / f"fab{number}").mkdir()
        write_board(tmp_path / f"fab{number}" / "board.yaml", number + 2)
    options = {
        "data": f"npz:{image_file}?count=64", "weight_bits": 5, "method": "uniform", "rounding": "nearest",
        "target": [str(tmp_path / f"fab{number}" / "board.yaml") for number in (1, 2)],
    }  # fmt: skip
    rows = mpq_onnx.sweep(cnn_file, options, tmp_path / "out").rows
    assert [row["mean_weight_bits"] for row in rows] == [3, 4]
    for number in (1, 2):
        write_board(tmp_path / f"fab{number}" / "board.yaml", 2)
        with pytest.raises(mpq_onnx.MpqOnnxError, match=f"another sweep .*fab{number}.*board.yaml"):
            mpq_onnx.sweep(cnn_file, options, tmp_path / "out")
        write_board(tmp_path / f"fab{number}" / "board.yaml", number + 2)


def write_board(path: Path, bits: int) -> None:
    path.write_text(
        f"format: mpq-onnx/target\nversion: 1\nname: board\nabout: one width\nrules:\n- weights: [{bits}]\n"
    )


def test_the_pareto_front() -> None:
    rows: list[dict] = [
        {"bit_operations": cost, "top1": top1}
        for cost, top1 in ((1, 0.5), (2, 0.4), (2, 0.7), (3, 0.7), (4, 0.9))
    ]
    mark_pareto(rows)
    assert [row["pareto"] for row in rows] == [True, False, True, False, True]


@pytest.mark.parametrize("suffix", ["yaml", "toml", "json"])
def test_a_configuration_file_sets_options_and_the_command_line_overrides(
    suffix: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    texts = {
        "yaml": "weight-bits: 3\nactivation_bits: 5\nmethod: uniform\nrounding: nearest\nbit-choices: [3, 5]\n",
        "toml": 'weight-bits = 3\nactivation_bits = 5\nmethod = "uniform"\nrounding = "nearest"\nbit-choices = [3, 5]\n',
        "json": '{"weight-bits": 3, "activation_bits": 5, "method": "uniform", "rounding": "nearest", "bit-choices": [3, 5]}',
    }
    config = tmp_path / f"options.{suffix}"
    config.write_text(texts[suffix])
    data = f"npz:{image_file}?count=64"
    result = run_inside(
        "allocate",
        cnn_file,
        "--config",
        config,
        "--data",
        data,
        "--activation-bits",
        3,
        "-o",
        tmp_path / "out",
        *FAST,
    )
    assert result.returncode == 0, result.stderr
    written = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (written["weight-bits"], written["activation-bits"], written["method"]) == (3, 3, "uniform")
    assert written["bit-choices"] == [3, 5] and written["steps"] == 4
    assert written["data"] == recorded({"data": data}, tmp_path / "out")["data"]
    if suffix == "yaml":  # what was written runs again, to the same file
        again = run_inside(
            "allocate", cnn_file, "--config", tmp_path / "out" / "config.yaml", "-o", tmp_path / "again"
        )
        assert again.returncode == 0, again.stderr
        first, second = ((tmp_path / name / "model.onnx").read_bytes() for name in ("out", "again"))
        assert first == second


def test_an_unknown_option_in_a_file(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    config = tmp_path / "options.yaml"
    config.write_text("weight-bis: 3\n")
    result = run_inside(
        "allocate", cnn_file, "--config", config, "--data", f"npz:{image_file}", "-o", tmp_path / "out"
    )
    assert_one_line(result, 2, "options.yaml", "weight-bis", "did you mean weight-bits")


def test_equals_are_both_on_the_front() -> None:
    rows = [
        {"weight_bytes": 10, "top1": 0.9},
        {"weight_bytes": 10, "top1": 0.9},
        {"weight_bytes": 12, "top1": 0.9},
    ]
    mark_pareto(rows)
    assert [row["pareto"] for row in rows] == [True, True, False]
