"""--device cuda, as far as it can be seen without a GPU; benchmarks/gpu_check.py is for machines with one."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from conftest import make_cnn, make_model
from onnx import TensorProto, helper
from pretended_gpu import PRETENDED, pretended_gpu

import mpq_onnx
from mpq_onnx.errors import UsageError
from mpq_onnx.mirror.build import frozen_mirror
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.runtime import session

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
OPENERS = ("mpq_onnx.runs.allocating", "mpq_onnx.runs.noise_bench", "gpu_stages")
"""Modules that ask for torch's device."""
TRIED = (
    "mirror",
    "mirror gradients",
    "costs of widths",
    "widths, closed form",
    "training step, widths",
    "adaptive rounding",
    "block rounding",
    "costs of noise",
    "energies, closed form",
)


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's module, with few examples and short trainings."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("gpu_check", "gpu_stages"):
        monkeypatch.setattr(importlib.import_module(name), "EXAMPLES", 24)
    short = TrainingSettings(steps=2, batch_size=8)
    monkeypatch.setattr(importlib.import_module("gpu_stages"), "TRAINING", short)
    return importlib.import_module("gpu_check")


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of block rounding."""
    monkeypatch.setattr("mpq_onnx.rounding.reconstruction.STEPS", 8)


@pytest.fixture
def torch_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with a GPU, and an onnxruntime that has no way to it."""
    monkeypatch.setattr(session, "cuda_present", lambda: True)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    session._say_on_cpu.cache_clear()
    yield
    session._say_on_cpu.cache_clear()


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_one_line_says_that_onnxruntime_stays_on_the_cpu(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        session.Runner(ir.from_proto(make_cnn()), device)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("NOTE: ") and "no CUDA provider" in line and "torch" in line


@pytest.mark.usefixtures("torch_alone")
def test_nothing_is_said_where_the_cpu_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    session.Runner(ir.from_proto(make_cnn()), "cpu")
    assert capsys.readouterr() == ("", "")


def test_without_any_gpu_cuda_is_refused_and_auto_is_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "cuda_present", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        session.providers("cuda")
    assert session.providers("auto") == ["CPUExecutionProvider"]
    assert capsys.readouterr() == ("", "")


def test_onnxruntime_multiplies_exactly_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "cuda_present", lambda: True)
    monkeypatch.setattr(session, "_preload_cuda", lambda: None)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    assert session.providers("auto") == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


def test_what_cuda_refuses_is_refused() -> None:
    with pretended_gpu():
        there = torch.ones(3).to(PRETENDED)
        assert (there + 1).tolist() == [2, 2, 2] and (there * torch.tensor(2.0)).device == PRETENDED
        with pytest.raises(RuntimeError, match="on the CPU"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, generator=torch.Generator(), device=PRETENDED)
        assert there.cpu().numpy().sum() == 3


def test_every_stage_stays_on_its_device(
    gpu_check: ModuleType,
    tmp_path: Path,
    torch_alone: None,
    few_steps: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The benchmark itself, on a device that computes as the CPU does: the differences are 0."""
    for module in OPENERS:
        monkeypatch.setattr(
            f"{module}.torch_device", lambda device: PRETENDED if device == "cuda" else torch.device(device)
        )
    stages = [stage for stage in gpu_check.STAGES if stage.name in TRIED]
    assert len(stages) == len(TRIED)
    table = gpu_check.Table("CUDA")
    with pretended_gpu():
        gpu_check.compare_all("cuda", tmp_path, table, stages)
    assert {row[4] for row in table.rows} == {"0"}
    assert len(table.rows) == 2 * len(TRIED) and not table.waiting and table.show() == 0


def test_a_network_without_constants_has_a_device_too() -> None:
    """Noise and quantizers go there."""
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"], "product")]
    inputs = [("a", TensorProto.FLOAT, ["n", 2, 3]), ("b", TensorProto.FLOAT, ["n", 3, 2])]
    model = ir.from_proto(make_model(nodes, inputs, [("y", ["n", 2, 2])], {}))
    with pretended_gpu():
        assert frozen_mirror(model, "the model", PRETENDED).device == PRETENDED
    assert frozen_mirror(model, "the model", torch.device("cpu")).device == torch.device("cpu")


def test_the_benchmark_says_what_disagrees_fails_and_is_missing(
    gpu_check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def differs(subject: object) -> list[np.ndarray]:
        return [np.array([1.0 if "cpu" in str(subject.folder) else 1.1])]  # type: ignore[attr-defined]

    def fails(subject: object) -> list[np.ndarray]:
        raise RuntimeError("two devices")

    stages = [gpu_check.Stage("other", differs, 0.05), gpu_check.Stage("broken", fails, 0.0)]
    table = gpu_check.Table("CPU", waiting=["time of BERT-base"])
    gpu_check.compare_all("cpu", tmp_path, table, stages)
    assert [row[-1] for row in table.rows] == ["DISAGREES", "FAILS"] * 2
    assert table.show() == 1
    printed = capsys.readouterr().out
    assert "two devices" in printed and "cut short: time of BERT-base" in printed
    assert gpu_check.largest_difference([np.ones(2)], [np.ones(3)]) == np.inf


@pytest.mark.slow
def test_whole_allocations_on_the_device(
    cnn_file: Path, tmp_path: Path, torch_alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained there, noise drawn there, the file checked: what is found on the CPU by the same draws."""
    for module in OPENERS[:2]:
        monkeypatch.setattr(
            f"{module}.torch_device", lambda device: PRETENDED if device == "cuda" else torch.device(device)
        )
    model = tmp_path / "float.onnx"
    mpq_onnx.export(cnn_file, model)

    def widths(device: str) -> str:
        options = mpq_onnx.AllocateOptions(device=device, steps=2, batch_size=8)
        folder = tmp_path / f"widths-{device}"
        mpq_onnx.allocate(model, "random?count=24", folder, weight_bits=3, activation_bits=5, options=options)
        return (folder / "allocation.json").read_text()

    def energies(device: str) -> str:
        options = mpq_onnx.EnergyOptions(noise=("shot",), device=device, steps=2, batch_size=8, repeats=1)
        folder = tmp_path / f"energies-{device}"
        mpq_onnx.allocate_energy(model, "random?count=24", folder, energy_per_mac=5.0, options=options)
        return (folder / "energy.json").read_text()

    for made in (widths, energies):
        expected = made("cpu")
        with pretended_gpu():
            assert made("cuda") == expected
