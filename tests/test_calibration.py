"""Calibration in onnxruntime: what is measured, kept and refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_cnn

from mpq_onnx.arithmetic.observers.range_search import best_range, squared_error
from mpq_onnx.arithmetic.quantization import fake_quantize
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.errors import DataError
from mpq_onnx.runs.calibrating import calibrate
from mpq_onnx.runs.preparation import load_float_model, read_calibration
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs


@pytest.fixture(scope="module")
def calibration_file(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    calibrate(cnn_file, f"npz:{image_file}", path)
    return path


def test_ranges_and_errors_are_those_of_the_data(
    calibration_file: Path, cnn_file: Path, image_file: Path
) -> None:
    calibration = Calibration.load(calibration_file)
    float_model = load_float_model(cnn_file)
    names = list(calibration.tensors)
    runner = runner_with_outputs(float_model.model, names, "cpu")
    dataset = float_model.open_data(f"npz:{image_file}")
    values = read_tensors(runner, names, dataset.read(range(len(dataset))).inputs)
    for name, array in zip(names, values, strict=True):
        tensor = calibration.tensors[name]
        assert tensor.minimum == pytest.approx(float(array.min()), rel=1e-5)
        assert tensor.maximum == pytest.approx(float(array.max()), rel=1e-5)
        assert tensor.shape == (1, *array.shape[1:])
        for bits in (2, 4, 8):
            error = float(((array - fake_quantize(array, *tensor.quantizer(bits))) ** 2).mean())
            assert tensor.errors[bits - 1] == pytest.approx(error, rel=0.1)


def test_activations_after_relu_have_no_negative_levels(calibration_file: Path) -> None:
    calibration = Calibration.load(calibration_file)
    for name in ("r0", "r1", "r2"):
        _, zero_point, _ = calibration.tensors[name].quantizer(4)
        assert zero_point == 0


def test_fractional_widths_lie_between_whole_ones(calibration_file: Path) -> None:
    tensor = Calibration.load(calibration_file).tensors["logits"]
    (low_a, high_a), (low, high), (low_b, high_b) = (tensor.range(bits) for bits in (3, 3.5, 4))
    assert min(low_a, low_b) <= low <= max(low_a, low_b)
    assert min(high_a, high_b) <= high <= max(high_a, high_b)


def test_a_saved_calibration_reads_back(calibration_file: Path, tmp_path: Path) -> None:
    calibration = Calibration.load(calibration_file)
    calibration.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == calibration_file.read_bytes()


def test_another_models_calibration_is_refused(calibration_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    onnx.save(make_cnn(seed=3), other)
    with pytest.raises(DataError, match="another model"):
        read_calibration(calibration_file, load_float_model(other))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ('{"examples": NaN}', "NaN is no number"),
        ("{}", "at the top level: .* required"),
        ("[1]", r"\[1\] must be an object"),
        ('{"format": "mpq-onnx/calibration", "version": 99}', "at version: 99 must be 2|required"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        Calibration.load(path)


def test_infinities_inside_the_network_are_refused(tmp_path: Path) -> None:
    model = make_cnn()
    for tensor in model.graph.initializer:
        if tensor.name == "inner.weight":
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.full((8, 8, 3, 3), 3e38, np.float32), tensor.name)
            )
    path = tmp_path / "overflow.onnx"
    onnx.save(model, path)
    with pytest.raises(DataError, match="becomes NaN or infinite"):
        calibrate(path, "random?count=8", tmp_path / "calibration.json")


@pytest.mark.parametrize("scale", [1e-16, 1e18, 1e20, 1e25])
def test_errors_of_very_large_and_very_small_values(scale: float) -> None:
    """Squares that float32 does not hold: the error goes with the square of the scale all the same."""
    values = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32)
    levels = np.full(3, 16, np.float32)
    low, high = best_range(values, levels)
    wanted = squared_error(values, low, high, levels)
    scaled = (values * np.float32(scale)).astype(np.float32)
    found_low, found_high = best_range(scaled, levels)
    np.testing.assert_allclose(found_low / scale, low, rtol=0.02)
    np.testing.assert_allclose(found_high / scale, high, rtol=0.02)
    found = squared_error(scaled, found_low, found_high, levels)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found / scale / scale, wanted, rtol=0.02)


@pytest.mark.parametrize("scale", [1e-3, 1e7])
def test_a_network_of_very_large_or_small_signals_is_calibrated(scale: float, tmp_path: Path) -> None:
    model = make_cnn()
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight"):
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array((array * np.float32(scale)), tensor.name))
        elif tensor.name.endswith("bias"):
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array * 0, tensor.name))
    onnx.save(model, tmp_path / "scaled.onnx")
    calibrate(tmp_path / "scaled.onnx", "random?count=8", tmp_path / "calibration.json")
    found = Calibration.load(tmp_path / "calibration.json")
    assert all(np.isfinite(tensor.errors).all() for tensor in found.tensors.values())
