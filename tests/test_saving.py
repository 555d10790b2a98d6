"""Models whose weights lie in a file of their own: whole or not at all, the old pair readable until the new one is there."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from mpq_onnx.errors import OutputError
from mpq_onnx.graph import model_file
from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.model_file import external_files, file_bytes, load_model, save_model
from mpq_onnx.runs.run_folder import publish
from mpq_onnx.runtime.session import Runner
from tests.conftest import make_cnn


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "LARGEST_INLINE_BYTES", 1000)


def model_of(seed: int) -> ir.Model:
    return ir.from_proto(make_cnn(seed))


@pytest.mark.usefixtures("small_limit")
def test_the_weights_get_a_file_and_count(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.onnx"
    size = save_model(model_of(0), path)
    (data,) = external_files(path)
    assert sorted(path.parent.iterdir()) == sorted([path, data])
    assert size == file_bytes(path) == path.stat().st_size + data.stat().st_size > 1000
    assert path.stat().st_mode == data.stat().st_mode
    assert fingerprint(load_model(path)) == fingerprint(model_of(0))
    inputs = {"images": np.zeros((2, 3, 12, 12), np.float32)}
    for got, wanted in zip(Runner(path).run(inputs), Runner(model_of(0)).run(inputs), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("point", ["writing", "data in place"])
def test_an_interruption_leaves_the_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    path = tmp_path / "model.onnx"
    save_model(model_of(0), path)
    moved = []

    def interrupted(source: Path, target: Path) -> None:
        if point == "data in place" and Path(target).suffix == ".data":
            moved.append(target)
            source.rename(target)
            return
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(model_of(1), path)
    monkeypatch.undo()
    assert bool(moved) == (point == "data in place")
    assert fingerprint(load_model(path)) == fingerprint(model_of(0))
    monkeypatch.setattr(model_file, "LARGEST_INLINE_BYTES", 1000)
    save_model(model_of(1), path)
    assert fingerprint(load_model(path)) == fingerprint(model_of(1))
    assert sorted(tmp_path.iterdir()) == sorted(
        [path, *external_files(path)]
    )  # the old one's weights are gone


@pytest.mark.usefixtures("small_limit")
def test_a_refusal_of_the_system_leaves_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    save_model(model_of(0), path)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ir, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        save_model(model_of(1), path)
    assert fingerprint(load_model(path)) == fingerprint(model_of(0))
    assert sorted(tmp_path.iterdir()) == sorted([path, *external_files(path)])


@pytest.mark.usefixtures("small_limit")
def test_other_files_beside_it_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [tmp_path / name for name in ("model.onnx.data", "a-model.onnx.0123456789ab.data", "other.onnx")]
    for other in others:
        other.write_text("mine")
    save_model(model_of(0), tmp_path / "model.onnx")
    monkeypatch.setattr(model_file, "LARGEST_INLINE_BYTES", 2**31)
    save_model(model_of(0), tmp_path / "model.onnx")  # small now: no data file
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "model.onnx"])


@pytest.mark.usefixtures("small_limit")
def test_results_are_moved_in_weights_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, folder = tmp_path / "results", tmp_path / "folder"
    save_model(model_of(0), folder / "model.onnx")
    save_model(model_of(1), results / "model.onnx")
    replace = Path.replace

    def readable(source: Path, target: Path) -> Path:
        load_model(folder / "model.onnx")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", readable)
    publish(results, folder)
    assert fingerprint(load_model(folder / "model.onnx")) == fingerprint(model_of(1))
    assert len([*folder.iterdir()]) == 2


def test_any_tool_s_external_data_counts(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    model = make_cnn()
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="b.bin",
        size_threshold=0,
    )
    assert external_files(path) == (tmp_path / "b.bin",)
    assert file_bytes(path) == path.stat().st_size + (tmp_path / "b.bin").stat().st_size
