"""Sweeps and searches on real workers: the same files as one process, whatever happens to the workers."""

import asyncio
import dataclasses
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from cluster_side import Hidden
from distributed import LocalCluster
from test_cli import COMMAND, assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.cluster import crew, opening, parcels
from mpq_onnx.datasets.source_files import source_files
from mpq_onnx.errors import UsageError
from mpq_onnx.precision import fisher, widths
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.runs import preparation, sweep_run, travel
from mpq_onnx.runs.probing import Figures, Goal, Interval, find_smallest, probe_folder
from mpq_onnx.runs.sweeping import RUN_FILE

QUICK = {"method": "uniform", "rounding": "nearest", "bias_correction": False}
MADE = "python:cluster_side:images"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers, which see the tests' own modules and start anew when they are killed."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parent), str(Path(mpq_onnx.__file__).parents[1])]
        patch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, memory_limit=None, dashboard_address="127.0.0.1:0"
        ) as found:  # fmt: skip
            yield found


@pytest.fixture(scope="module")
def options(image_file: Path) -> dict:
    data = f"npz:{image_file}?count=64"
    cases = [
        {"weight_bits": [3, 5], "activation_bits": 6},
        {"weight_bits": 3, "data": MADE},
        {"noise": "shot", "energy_per_mac": 5, "repeats": 1},
        {"noise": "thermal", "energy_per_mac": 5},  # fails: it needs a quantized model
    ]
    return {"data": data, "test": data, "cases": cases, **QUICK}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, options: dict) -> Path:
    """The sweep in one process."""
    folder = tmp_path_factory.mktemp("whole")
    assert mpq_onnx.sweep(cnn_file, options, folder).failed == 1
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files, without what tells of times and places."""
    told = rb'"(folder|model_path)": "[^"]*"|"examples_per_second": [0-9.e+-]+|,?\s*"the file runs slower than float [^"]*"'
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        path.relative_to(folder).as_posix(): b"".join(re.sub(told, b"", text).split())
        if path.name == "result.json"
        else text
        for path, text in found.items()
    }


def finished(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"runs/*/{RUN_FILE}"))


def wait_for_a_run(folder: Path) -> None:
    deadline = time.monotonic() + 200
    while not finished(folder) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_sweep_is_that_of_one_process_though_files_travel_and_a_worker_is_killed(
    cluster: LocalCluster, whole: Path, cnn_file: Path, options: dict, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def hidden(sources: object) -> tuple[parcels.Parcel, ...]:
        return tuple(Hidden(**vars(each)) for each in parcels.pack(sources))  # type: ignore[arg-type]

    def kill() -> None:
        wait_for_a_run(tmp_path)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    monkeypatch.setattr(travel, "pack", hidden)
    killer = threading.Thread(target=kill)
    killer.start()
    result = mpq_onnx.sweep(cnn_file, options, tmp_path, cluster=cluster.scheduler_address)
    killer.join()
    assert result.failed == 1
    assert contents(tmp_path) == contents(whole)


@pytest.mark.slow
def test_a_run_that_kills_its_workers_is_a_failed_row(
    cluster: LocalCluster, cnn_file: Path, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "LOSSES", 2)
    cases = [{"data": "python:cluster_side:deadly"}, {"data": MADE}, {"weight_bits": 5}]
    result = mpq_onnx.sweep(
        cnn_file, {**options, "weight_bits": 4, "cases": cases}, tmp_path, cluster=cluster.scheduler_address
    )
    assert result.failed == 1
    assert "worker was lost 2 times" in result.rows[0]["error"]
    assert all(row["mean_weight_bits"] == row["weight_bits"] for row in result.rows[1:])


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(
    cluster: LocalCluster, whole: Path, cnn_file: Path, options: dict, tmp_path: Path
) -> None:
    config, folder = tmp_path / "sweep.json", tmp_path / "out"
    config.write_text(json.dumps(options))
    process = subprocess.Popen(
        [*COMMAND, *map(str, ("sweep", cnn_file, "--config", config, "-o", folder, "--cluster", cluster.scheduler_address))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_a_run(folder)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert_one_line(
        subprocess.CompletedProcess("sweep", process.returncode, output, errors),
        130,
        "the same command goes on",
    )
    made = {path: path.stat().st_mtime_ns for path in finished(folder)}
    assert made
    mpq_onnx.sweep(cnn_file, options, folder)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert contents(folder) == contents(whole)


@pytest.mark.slow
def test_a_search_on_workers_keeps_its_contract(
    cluster: LocalCluster, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    interval = Interval(2, 8, 0.5)

    def search(**workers: object) -> mpq_onnx.SearchResult:
        return mpq_onnx.search_bits(
            cnn_file, f"npz:{image_file}?count=64", f"npz:{image_file}", tmp_path, goals=(Goal("agreement", 0.95),),
            interval=interval, options=mpq_onnx.AllocateOptions(**QUICK), **workers,
        )  # fmt: skip

    found = search(cluster=cluster.scheduler_address)
    assert found.best is not None and found.best.reached and found.best.budget > interval.low
    below = max(probe.budget for probe in found.probes if probe.budget < found.best.budget)
    assert found.best.budget / below <= 1 + interval.tolerance
    assert Path(str(found.model_path)).is_file() and (tmp_path / "calibration.json").is_file()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("probe.json")}
    assert len(kept) == len(found.probes)
    again = search(cluster=cluster.scheduler_address)
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("probe.json")} == kept


def test_workers_of_another_version_are_refused(
    cluster: LocalCluster, cnn_file: Path, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpq_onnx, "__version__", "9.9")
    config = tmp_path / "sweep.json"
    config.write_text(json.dumps(options))
    result = run_inside(
        "sweep", cnn_file, "--config", config, "-o", tmp_path / "out", "--cluster", cluster.scheduler_address
    )
    said = [line for line in result.stderr.splitlines() if line.startswith("mpq-onnx: ")]
    assert result.returncode == 3 and len(said) == 1 and "Traceback" not in result.stderr
    assert "no worker can do this" in said[0] and "mpq_onnx 0.1.0, and 9.9 here" in said[0]
    assert not finished(tmp_path / "out")


def test_bad_addresses_end_in_one_line(
    cnn_file: Path, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "sweep.json"
    config.write_text(json.dumps(options))

    def start(*workers: object) -> subprocess.CompletedProcess:
        return run_inside("sweep", cnn_file, "--config", config, "-o", tmp_path / "out", *workers)

    monkeypatch.setattr(opening, "CONNECT_SECONDS", 1)
    assert_one_line(start("--cluster", "tcp://127.0.0.1:1"), 3, "tcp://127.0.0.1:1", "no dask scheduler")
    assert_one_line(start("--cluster", "tcp://127.0.0.1"), 2, "give the port")
    assert_one_line(start("--cluster", tmp_path / "none.json"), 2, "none.json", "scheduler-file")
    assert_one_line(start("--cluster", "tcp://127.0.0.1:1", "--jobs", 2), 2, "give one of them")
    assert_one_line(start("--jobs", 0), 2, "--jobs 0")
    assert_one_line(start("--threads", 0), 2, "--threads 0")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "distributed" else found(name)
    )
    assert_one_line(start("--jobs", 2), 2, "pip install", "distributed")


def test_an_unforeseen_error_is_the_run_s_own(
    cnn_file: Path, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise ZeroDivisionError("in\ntwo lines")

    monkeypatch.setattr(sweep_run, "allocate_energy", fail)
    cases = [{"weight_bits": 4}, {"noise": "shot", "energy_per_mac": 5}]
    result = mpq_onnx.sweep(cnn_file, {**options, "cases": cases}, tmp_path)
    assert [row.get("error") for row in result.rows] == [
        None,
        "unforeseen ZeroDivisionError: in two lines; error.txt has more",
    ]
    assert "Traceback" in (tmp_path / "runs" / "0002" / "error.txt").read_text()


def test_what_one_process_made_another_does_not_make_again(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibration, grids and costs, by content: the model lies elsewhere."""
    data = f"npz:{image_file}?count=64"
    options = mpq_onnx.AllocateOptions(**{**QUICK, "method": "water-filling"})

    def allocate(model: Path, folder: Path, shared: SharedWork) -> bytes:
        found = mpq_onnx.allocate(
            model, data, folder, weight_bits=3, activation_bits=6, options=options, shared=shared
        )
        return Path(found.model_path).read_bytes()

    first, second = SharedWork(), SharedWork()
    made = allocate(cnn_file, tmp_path / "first", first)
    second.learn(first.tell())
    assert not first.tell()
    copied = tmp_path / "copy.onnx"
    shutil.copyfile(cnn_file, copied)
    for module, name in ((preparation, "measure_calibration"), (widths, "site_grid"), (fisher, "_measure")):
        monkeypatch.setattr(module, name, None)
    assert allocate(copied, tmp_path / "second", second) == made


@dataclasses.dataclass
class Threshold:
    """Probes that reach the goal from a budget on."""

    folder: Path
    at_once: int
    least: float
    rounds: list[list[float]] = dataclasses.field(default_factory=list)

    def measure(self, budgets: Sequence[float]) -> Iterator[tuple[float, Figures]]:
        self.rounds.append(list(budgets))
        for budget in budgets:
            probe_folder(self.folder, budget).mkdir(parents=True)
            yield budget, {"metrics": {"top1": float(budget >= self.least)}, "baseline": {}}


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
@pytest.mark.parametrize("least", [0.5, 1.0, 3.21, 999.0, 1000.0, 1001.0])
def test_probes_at_once_keep_the_tolerance(at_once: int, least: float, tmp_path: Path) -> None:
    prober = Threshold(tmp_path, at_once, least)
    found = find_smallest(tmp_path, prober, (Goal("top1", 1.0),), Interval(1.0, 1000.0, 0.01))
    assert all(len(budgets) <= max(at_once, 2) for budgets in prober.rounds)
    if least > 1000:
        assert found.best is None
        return
    assert found.best is not None and found.best.budget >= least
    assert found.best.budget <= max(least * 1.01, 1.0)
    if at_once == 1:
        expected, low, high = [[1000.0], [1.0]], 1.0, 1000.0
        while least > 1 and high / low > 1.01:
            middle = float(f"{math.sqrt(low * high):.6g}")
            expected.append([middle])
            low, high = (low, middle) if middle >= least else (middle, high)
        assert prober.rounds == expected


def test_files_of_data_specs(tmp_path: Path) -> None:
    for name in ("images/a/1.png", "images/b/2.JPG", "images/notes.txt", "classes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = tmp_path / "images" / "list.txt"
    listed.write_text("a/1.png 0\nb/2.JPG 1\n")

    def files(spec: str) -> dict[str, tuple[str, ...]]:
        return {each.name: each.files for each in source_files(spec)}

    images, classes = str(tmp_path / "images"), str(tmp_path / "classes.txt")
    assert files(f"imagefolder:{images}?classes={classes}&count=1") == {
        images: ("a/1.png", "b/2.JPG"),
        classes: ("classes.txt",),
    }
    assert files(f"imagelist:{listed}") == {str(listed): ("list.txt", "a/1.png", "b/2.JPG")}
    assert files(f"csv:t.csv.gz?columns={classes}") == {
        "t.csv.gz": ("t.csv.gz",),
        classes: ("classes.txt",),
    }
    assert not files("random?count=4") and not files(MADE)
    listed.write_text("../elsewhere.png 0\n")
    with pytest.raises(mpq_onnx.MpqOnnxError, match="cannot be taken to a worker"):
        source_files(f"imagelist:{listed}")


def test_workers_are_said_in_one_way() -> None:
    with pytest.raises(UsageError, match="give one of them"):
        opening.Workers(2, "tcp://127.0.0.1:1")
    assert opening.Workers(8).at_most(3) == opening.Workers(3)


def test_a_result_that_went_with_its_worker_is_made_again_at_once() -> None:
    """The scheduler says that it is finished, and whoever holds it is gone: dask waits, the crew does not."""
    asked = []

    class Finished:
        status = "finished"

        def result(self, timeout: float) -> None:
            asked.append(timeout)
            raise asyncio.TimeoutError

        def cancel(self) -> None: ...

    client = SimpleNamespace(nthreads=lambda: {})
    with ThreadPoolExecutor(1) as looking:
        opened = SimpleNamespace(client=client, name="c", is_local=True)
        workers = crew.Crew(opened, SimpleNamespace(), looking)
        assert workers._outcome(SimpleNamespace(worker="tcp://gone:1", future=Finished(), since=0.0)) is None
    assert asked == [crew.FETCH_SECONDS]
