"""Data specs: what is read, and what is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mpq_onnx.datasets import open_dataset
from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.metadata import METADATA_PREPROCESSING
from mpq_onnx.model_inputs import ModelInput

IMAGE = (ModelInput("images", np.dtype(np.float32), (None, 3, 8, 6)),)
PIXELS = (ModelInput("pixels", np.dtype(np.float32), (None, 1, 8, 8)),)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, images=rng.integers(0, 256, (20, 8, 6, 3), dtype=np.uint8), labels=np.arange(20) % 4)
    return path


def test_images_are_scaled_normalised_and_transposed(npz: Path) -> None:
    spec = f"npz:{npz}?layout=nhwc&mean=0.5,0.4,0.3&std=0.2,0.2,0.1"
    (batch,) = open_dataset(spec, IMAGE).batches(20)
    raw = np.load(npz)["images"]
    wanted = (raw.astype(np.float64) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    np.testing.assert_allclose(batch.inputs["images"], wanted.transpose(0, 3, 1, 2), atol=1e-5)
    assert batch.labels is not None and batch.labels.tolist() == [index % 4 for index in range(20)]


def test_the_models_preprocessing_applies_unless_overridden(npz: Path) -> None:
    facts = {METADATA_PREPROCESSING: "layout=nhwc&mean=0.5&std=0.25"}
    own = open_dataset(f"npz:{npz}", IMAGE, facts).read([0]).inputs["images"]
    other = open_dataset(f"npz:{npz}?mean=0", IMAGE, facts).read([0]).inputs["images"]
    np.testing.assert_allclose(other, own + 2.0, atol=1e-5)


def test_start_and_count_choose_a_part(npz: Path) -> None:
    part = open_dataset(f"npz:{npz}?layout=nhwc&start=5&count=3", IMAGE)
    assert len(part) == 3
    (batch,) = part.batches(10)
    assert batch.labels is not None and batch.labels.tolist() == [1, 2, 3]


def test_arrays_by_input_name(tmp_path: Path) -> None:
    inputs = (
        ModelInput("tokens", np.dtype(np.int64), (None, 4)),
        ModelInput("mask", np.dtype(np.float32), (None, 4)),
    )
    path = tmp_path / "text.npz"
    np.savez(path, tokens=np.ones((5, 4), np.int32), mask=np.zeros((5, 4)))
    (batch,) = open_dataset(f"npz:{path}", inputs).batches(8)
    assert {name: array.dtype.name for name, array in batch.inputs.items()} == {
        "tokens": "int64",
        "mask": "float32",
    }
    assert batch.labels is None


def test_image_folder(tmp_path: Path) -> None:
    for label, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
        (tmp_path / label).mkdir()
        for index in range(2):
            Image.new("RGB", (12 + index, 16), colour).save(tmp_path / label / f"{index}.png")
    inputs = (ModelInput("images", np.dtype(np.float32), (None, 3, 8, 8)),)
    (batch,) = open_dataset(f"imagefolder:{tmp_path}?resize=8&crop=8", inputs).batches(4)
    assert batch.inputs["images"].shape == (4, 3, 8, 8)
    assert batch.labels is not None and batch.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(batch.inputs["images"][0, :, 0, 0], [1, 0, 0])


def test_digits_are_all_there() -> None:
    digits = open_dataset("digits", PIXELS)
    assert len(digits) == 1797
    batch = digits.read(range(100))
    assert batch.inputs["pixels"].max() == 1.0
    assert set(np.asarray(batch.labels)) == set(range(10))


def test_random_is_seeded_and_has_the_models_shape() -> None:
    first = open_dataset("random?count=3&seed=1", PIXELS).read([0, 2]).inputs["pixels"]
    again = open_dataset("random?count=3&seed=1", PIXELS).read([0, 2]).inputs["pixels"]
    other = open_dataset("random?count=3&seed=2", PIXELS).read([0, 2]).inputs["pixels"]
    assert first.shape == (2, 1, 8, 8)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_python_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\ndef make():\n    return {'pixels': np.ones((7, 1, 8, 8)), 'labels': np.arange(7)}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset("python:my_data:make", PIXELS)) == 7
    with pytest.raises(UsageError, match="my_data:absent"):
        open_dataset("python:my_data:absent", PIXELS)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("video:x", "unknown kind 'video'"),
        ("npz:absent.npz", "no such file"),
        ("digits?colour=red", "unknown option colour"),
        ("digits?count=many", "not a whole number"),
        ("digits?start=5000", "no examples left"),
        ("digits?count", "key=value"),
        ("imagefolder:/nonexistent", "no such folder"),
    ],
)
def test_wrong_specs_are_refused(spec: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        open_dataset(spec, PIXELS)
    assert "\n" not in str(caught.value)


def test_wrong_shape_and_nan_are_refused(npz: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not fit model input images"):
        open_dataset(f"npz:{npz}", IMAGE).read([0])
    path = tmp_path / "nan.npz"
    images = np.zeros((6, 3, 8, 6), np.float32)
    images[4, 0, 0, 0] = np.nan
    np.savez(path, images=images)
    with pytest.raises(DataError, match="NaN or infinity in example 4"):
        list(open_dataset(f"npz:{path}", IMAGE).batches(6))


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(b"PK\x03\x04 nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as npz"):
        open_dataset(f"npz:{path}", IMAGE)


def test_random_inputs_of_one_example_are_independent() -> None:
    inputs = tuple(ModelInput(name, np.dtype(np.int64), (None, 64)) for name in ("ids", "mask"))
    batch = open_dataset("random?count=2", inputs).read([0, 1])
    assert (batch.inputs["ids"] != batch.inputs["mask"]).any()
