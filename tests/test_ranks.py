"""Allocations that several processes work on: the same results, and clear ends."""

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import ranks_work
from test_cli import assert_one_line, run_inside

from mpq_onnx.errors import UsageError
from mpq_onnx.ranks import Ranks
from mpq_onnx.runs.joining import JoinedRanks

SCRIPT = Path(ranks_work.__file__)
ROOT = SCRIPT.parents[1]


class Threads(Ranks):
    """Ranks that are threads of this process."""

    def __init__(self, rank: int, count: int, board: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.count, self.board, self.barrier = rank, count, board, barrier

    def gather(self, item: Any) -> list[Any]:
        self.board[self.rank] = pickle.dumps(item)
        self.barrier.wait()
        found = [*map(pickle.loads, self.board)]
        self.barrier.wait()
        return found

    def at_first(self, made: Iterable[Any], total: int, use: Callable[[Iterator[Any]], Any]) -> Any:
        items = self.in_order(made)
        assert len(items) == total
        return self.gather(use(iter(items)) if self.is_first else None)[0]

    def sum(self, array: Any) -> Any:
        first, *others = self.gather(array)
        return sum(others, start=first)


def in_threads(count: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work` returns on every one of so many ranks."""
    board, barrier = [None] * count, threading.Barrier(count, timeout=60)

    def of(rank: int) -> Any:
        try:
            return work(Threads(rank, count, board, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return [*pool.map(of, range(count))]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [0, 1, 4, 5, 17])
def test_everything_is_somebodys(count: int, length: int) -> None:
    items = list(range(length))

    def work(ranks: Ranks) -> tuple[list[int], int]:
        own = [item * 10 for item in ranks.own(items)]
        total = ranks.at_first((item for item in own), length, sum)
        return ranks.in_order(own), total

    for ordered, total in in_threads(count, work):
        assert ordered == [item * 10 for item in items] and total == 10 * sum(items)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, encoder_file: Path, image_file: Path
) -> Path:
    """Networks and data, and for each of two processes a folder with data of its own."""
    found = tmp_path_factory.mktemp("ranks")
    for path, name in ((cnn_file, "cnn.onnx"), (encoder_file, "encoder.onnx"), (image_file, "images.npz")):
        shutil.copy(path, found / name)
    for rank in range(2):
        (found / f"only-{rank}").mkdir()
        images = np.random.default_rng(rank).standard_normal((16, 3, 12, 12)).astype(np.float32)
        np.savez(found / f"only-{rank}" / "images.npz", images=images)
    return found


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def started(parts: str, folder: Path) -> list[subprocess.Popen]:
    """Two processes on a part of ranks_work.py."""
    port, other = free_ports(2)
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), parts, str(folder), str(other)]
    environments = [{**os.environ, **place, "RANK": str(rank)} for rank in range(2)]
    return [subprocess.Popen(command, env=each, stderr=subprocess.PIPE, text=True) for each in environments]


@pytest.fixture(scope="module")
def done(folder: Path) -> tuple[Path, list[tuple[int, str]]]:
    """The folder with what one process and two have made of it; exit codes and stderr of the two."""
    processes = started("few", folder)
    ranks_work.few(folder, folder / "one")
    errors = [each.communicate(timeout=300)[1] for each in processes]
    assert (folder / "said-1.json").is_file(), errors
    return folder, [(each.returncode, said) for each, said in zip(processes, errors, strict=True)]


def levels(path: Path) -> dict[str, Any]:
    return {
        entry["node"]: entry.get("energy_per_mac", (entry.get("weight_bits"), entry.get("activation_bits")))
        for entry in json.loads(path.read_text())["nodes"]
    }


def integers(path: Path) -> np.ndarray:
    """All rounded weights of a file."""
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    return np.concatenate(
        [each.astype(int).ravel() for each in arrays if each.dtype.kind in "iu" and each.ndim > 1]
    )


def metrics(result: Path) -> dict[str, float]:
    found = json.loads((result / "result.json").read_text())["chosen"]["evaluation"]["metrics"]
    return {name: each["value"] for name, each in found.items()}


def check_equal(one: Path, two: Path) -> None:
    """Equal widths and ranges, and integers but for a few that the order of sums decides."""
    assert levels(two / "allocation.json") == levels(one / "allocation.json")
    # Not only near: what each rank counts are whole numbers, and batches are followed in their order.
    assert (two / "calibration.json").read_bytes() == (one / "calibration.json").read_bytes()
    found, wanted = (integers(each / "model.onnx") for each in (two, one))
    assert len(found) == len(wanted) and (found != wanted).mean() < 0.01
    assert metrics(two) == pytest.approx(metrics(one), abs=0.03)


@pytest.mark.parametrize("result", ["bits", "quantized/digital"])
def test_two_processes_find_what_one_does(done: tuple[Path, Any], result: str) -> None:
    check_equal(done[0] / "one" / result, done[0] / "two" / result)


def test_noise_has_the_same_costs_and_statistics(done: tuple[Path, Any]) -> None:
    """Sensitivities and evaluations draw by batch and by stream, so alike on any number of ranks."""
    one, two = (done[0] / each / "quantized" for each in ("one", "two"))
    found, wanted = levels(two / "energy.json"), levels(one / "energy.json")
    assert found == {node: pytest.approx(energy, rel=1e-4) for node, energy in wanted.items()}
    assert metrics(two) == pytest.approx(metrics(one), abs=0.03)


def test_what_ranks_refuse_together(done: tuple[Path, Any]) -> None:
    for rank in range(2):
        said = json.loads((done[0] / f"said-{rank}.json").read_text())
        assert said["other data"].startswith(
            "rank 1 was asked for something else than rank 0 (other: data content); give all processes the same"
        )
        assert "1 examples to choose by are too few for 2 processes" in said["few"]
    assert not (done[0] / "refused").exists()


def test_a_process_that_dies_ends_all_and_the_run_goes_on(done: tuple[Path, list[tuple[int, str]]]) -> None:
    """Killed when training was done: the other says so in one line, and one process finishes what two began."""
    folder, ((code, said), (killed, _)) = done
    assert (code, killed) == (3, -signal.SIGKILL)
    (line,) = [each for each in said.splitlines() if each.startswith("mpq-onnx: ")]
    assert "another process of this allocation is gone" in line and "--resume goes on" in line
    assert "Traceback" not in said
    resumed = run_inside(*ranks_work.unfinished(folder), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{ranks_work.STEPS} steps, 50 of them done before" in resumed.stderr
    assert "calibrate" not in resumed.stderr


@pytest.mark.slow
def test_two_processes_on_more_than_that(folder: Path) -> None:
    """A transformer and channels rounded by blocks; learned energies differ by what their steps draw, and no more."""
    processes = started("more", folder)
    ranks_work.more(folder, folder / "one")
    for each in processes:
        _, errors = each.communicate(timeout=600)
        assert each.returncode == 0, errors
    for result in ("encoder", "blocks"):
        check_equal(folder / "one" / result, folder / "two" / result)
    one, two = (
        np.concatenate([*map(np.atleast_1d, levels(folder / each / "learned" / "energy.json").values())])
        for each in ("one", "two")
    )
    assert (one != two).any()  # a step draws for every part of its batch, of which two ranks have two
    assert np.abs(np.log(two / one)).mean() < 0.1


@pytest.mark.slow
def test_torchrun(folder: Path) -> None:
    """The command as it is written in docs/scale.md, and what is said of bad data."""
    images = np.random.default_rng(0).standard_normal((320, 3, 12, 12)).astype(np.float32)
    np.savez(folder / "fine.npz", images=images)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "mpq_onnx"]
    command = [
        *launcher,
        "allocate",
        str(folder / "cnn.onnx"),
        "--effort",
        "quick",
        "--weight-bits",
        "3",
        "--data",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(data: Path, output: str) -> subprocess.CompletedProcess:
        arguments = [*command, f"npz:{data}", "-o", str(folder / output), "--json"]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300)

    fine = run(folder / "fine.npz", "fine")
    assert fine.returncode == 0, fine.stderr
    assert json.loads(fine.stdout)["folder"] == str(folder / "fine")  # one process prints
    missing = run(folder / "missing.npz", "missing")
    ours = [line for line in missing.stderr.splitlines() if line.startswith("mpq-onnx: ")]
    assert missing.returncode != 0 and len(ours) == 1 and "no such file" in ours[0]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"RANK": "1"}, "the environment has RANK and no WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "has RANK and no MASTER_ADDR, MASTER_PORT: start with torchrun"),
        ({"RANK": "0", "WORLD_SIZE": "two", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "WORLD_SIZE=two"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK=2 of WORLD_SIZE=2"),
    ],
)
def test_an_environment_that_is_not_whole(
    environment: dict[str, str], reason: str, cnn_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = run_inside(
        "allocate", cnn_file, "--data", "random?count=8", "--weight-bits", 4, "-o", tmp_path / "out"
    )
    assert_one_line(done, 2, reason)
    assert not (tmp_path / "out").exists()


def test_commands_of_one_process(cnn_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run_inside("evaluate", cnn_file, "--data", "random?count=8")
    assert_one_line(
        done, 2, "evaluate: runs in one process, and 2 were started", "allocate runs over processes"
    )


def test_other_versions() -> None:
    class Two(JoinedRanks):
        def gather(self, item: Any) -> list[Any]:
            return [item, {**item, "torch": "1.0"}]

    with pytest.raises(UsageError, match=r"rank 1 runs torch 1\.0, rank 0 .*: install the same everywhere"):
        Two(0, 2, None, "gloo").check_versions()
