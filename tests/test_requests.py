"""Interrupted runs, probes, sweeps and shared work hold for the content of files, not for their names."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import mpq_onnx
from mpq_onnx.errors import UsageError
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.runs import results
from mpq_onnx.runs.searching import Goal, Interval
from tests.conftest import make_cnn

QUICK = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False)


@pytest.fixture
def files(cnn_file: Path, image_file: Path, tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / name for name in ("model.onnx", "data.npz", "validation.npz", "c.json")}
    shutil.copy(cnn_file, found["model.onnx"])
    with np.load(image_file) as arrays:
        for name, part in (("data.npz", slice(64)), ("validation.npz", slice(64, 96))):
            np.savez(found[name], **{key: array[part] for key, array in arrays.items()})
    mpq_onnx.calibrate(found["model.onnx"], f"npz:{found['data.npz']}", found["c.json"])
    return found


def change_arrays(path: Path) -> None:
    with np.load(path) as arrays:
        changed = {name: array.copy() for name, array in arrays.items()}
    changed["images"][3] *= 1.5
    np.savez(path, **changed)


def change_model(path: Path) -> None:
    """An attribute alone."""
    model = onnx.load(path)
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    gemm.attribute.append(onnx.helper.make_attribute("alpha", 0.5))
    onnx.save(model, path)


def change_text(path: Path) -> None:
    path.write_text(path.read_text().replace('"examples": 64', '"examples": 63'))


CHANGES: dict[str, Callable[[Path], None]] = {
    "model.onnx": change_model, "data.npz": change_arrays, "validation.npz": change_arrays, "c.json": change_text,
}  # fmt: skip


def allocate(files: dict[str, Path], folder: Path, **arguments: object) -> mpq_onnx.AllocateResult:
    given = {"calibration": files["c.json"], "options": QUICK, "weight_bits": 4, "activation_bits": 6}
    data, validation = (f"npz:{files[name]}" for name in ("data.npz", "validation.npz"))
    return mpq_onnx.allocate(
        files["model.onnx"], data, folder, validation=validation, **{**given, **arguments}
    )


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_not_gone_on_with(
    name: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"

    def interrupt(*arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "save_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        allocate(files, folder)
    monkeypatch.undo()
    kept = files[name].read_bytes()
    CHANGES[name](files[name])
    wanted = {
        "model.onnx": "model",
        "data.npz": "data",
        "validation.npz": "validation",
        "c.json": "calibration",
    }
    with pytest.raises(UsageError, match=rf"another request \(other: {wanted[name]} content\)"):
        allocate(files, folder, resume=True)
    with pytest.raises(UsageError, match=r"another request \(other: .*weight_bits"):
        allocate(files, folder, resume=True, weight_bits=5)
    files[name].write_bytes(kept)
    assert allocate(files, folder, resume=True).chosen.name == "uniform"


@pytest.mark.parametrize("name", ["model.onnx", "data.npz", "validation.npz"])
def test_work_on_a_changed_file_is_not_shared(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    shared = SharedWork()
    first = allocate(files, tmp_path / "a", calibration=None, shared=shared)
    before = Path(first.model_path).read_bytes()
    again = allocate(files, tmp_path / "b", calibration=None, shared=shared)
    assert Path(again.model_path).read_bytes() == before
    CHANGES[name](files[name])
    after = allocate(files, tmp_path / "c", calibration=None, shared=shared)
    fresh = allocate(files, tmp_path / "d", calibration=None)
    assert Path(after.model_path).read_bytes() == Path(fresh.model_path).read_bytes() != before


def test_a_sweep_and_a_search_on_changed_files_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    data, test = f"npz:{files['data.npz']}", f"npz:{files['validation.npz']}"
    configuration = {
        "data": data, "test": test, "weight_bits": 4, "method": "uniform", "rounding": "nearest", "bias_correction": False,
    }  # fmt: skip

    def search() -> object:
        return mpq_onnx.search_bits(
            files["model.onnx"], data, test, tmp_path / "search", goals=(Goal("top1", 0.0),), interval=Interval(3, 4, 0.5),
            options=QUICK,
        )  # fmt: skip

    mpq_onnx.sweep(files["model.onnx"], configuration, tmp_path / "sweep")
    mpq_onnx.sweep(files["model.onnx"], configuration, tmp_path / "sweep")
    search()
    search()
    change_arrays(files["validation.npz"])
    with pytest.raises(UsageError, match=r"another sweep \(other: npz:.*validation.npz content\)"):
        mpq_onnx.sweep(files["model.onnx"], configuration, tmp_path / "sweep")
    with pytest.raises(UsageError, match=r"another search \(other: test content\)"):
        search()


def test_another_network_s_calibration_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    """The same nodes, names and weights, and other attributes."""
    model = make_cnn()
    for node in model.graph.node:
        if node.op_type == "Gemm":
            node.attribute.append(onnx.helper.make_attribute("beta", 2.0))
    onnx.save(model, files["model.onnx"])
    with pytest.raises(mpq_onnx.MpqOnnxError, match="was made for another model"):
        allocate(files, tmp_path / "out")
