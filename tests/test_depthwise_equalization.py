"""Channels of very different sizes ahead of a depthwise convolution: each keeps its levels, by default."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.equalization.depthwise import channel_factors

SIDE, CHANNELS = 6, 8
PLAIN = {"method": "uniform", "rounding": "nearest"}
ACTIVATIONS = {
    "Swish by parts": [("Sigmoid", ["m"], "s"), ("Mul", ["m", "s"], "a")],
    "HardSwish": [("HardSwish", ["m"], "a")],
    "Relu": [("Relu", ["m"], "a")],
    "none": [("Identity", ["m"], "a")],
    "learned scale": [("HardSwish", ["m"], "h"), ("Mul", ["h", "scale"], "a")],
}


def separable(activation: str, multiplier: int = 1, other_reader: bool = False) -> onnx.ModelProto:
    """A pointwise convolution with channels of 1e-3 to 1, an activation function, a depthwise convolution that evens them."""
    rng = np.random.default_rng(0)
    sizes = np.logspace(-2.5, 0, CHANNELS).astype(np.float32)
    depthwise = np.repeat(1 / sizes, multiplier)[:, None, None, None]
    tensors = {
        "point": weights(rng, CHANNELS, 3, 1, 1) * sizes[:, None, None, None],
        "depth": weights(rng, CHANNELS * multiplier, 1, 3, 3) * depthwise,
        "scale": np.array(1.5, np.float32),
    }
    nodes = [helper.make_node("Conv", ["x", "point"], ["m"], "pointwise")]
    nodes += [helper.make_node(op, ins, [out], out) for op, ins, out in ACTIVATIONS[activation]]
    nodes.append(helper.make_node("Conv", ["a", "depth"], ["y"], "depthwise", pads=[1] * 4, group=CHANNELS))
    outputs = [("y", ["n", CHANNELS * multiplier, SIDE, SIDE])]
    if other_reader:
        nodes.append(helper.make_node("GlobalAveragePool", ["a"], ["z"], "pool"))
        outputs.append(("z", ["n", CHANNELS, 1, 1]))
    shape = ["n", 3, SIDE, SIDE]
    return make_model(nodes, [("x", TensorProto.FLOAT, shape)], outputs, tensors, opset=21)


def allocated(model: onnx.ModelProto, folder: Path, name: str, **options) -> tuple[Path, Path, Path]:
    onnx.save(model, folder / "source.onnx")
    mpq_onnx.export(str(folder / "source.onnx"), folder / "float.onnx")
    x = np.random.default_rng(1).normal(size=(16, 3, SIDE, SIDE)).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    mpq_onnx.allocate(
        folder / "float.onnx", f"npz:{folder / 'data.npz'}", folder / name, weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(**PLAIN, **options),
    )  # fmt: skip
    return folder / "float.onnx", folder / name / "model.onnx", folder / name / "calibration.json"


def worst_channel(exact: Path, changed: Path, data: Path) -> float:
    """The smallest signal to noise of a channel of the first output, dB."""
    x = np.load(data)["x"]
    first, second = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for path in (exact, changed)
    )
    signal, noise = (np.square(each).sum(axis=(0, 2, 3)) for each in (first, second - first))
    return float((10 * np.log10(signal / noise)).min())


@pytest.mark.parametrize(
    ("activation", "multiplier"),
    [("Swish by parts", 1), ("HardSwish", 2), ("Relu", 1), ("none", 1), ("learned scale", 1)],
)
def test_small_channels_keep_their_levels(activation: str, multiplier: int, tmp_path: Path) -> None:
    exact, changed, calibration = allocated(separable(activation, multiplier), tmp_path, "out")
    assert len(Calibration.load(calibration).channel_factors) == 1
    assert (
        worst_channel(exact, changed, tmp_path / "data.npz") > 25
    )  # one scale for all leaves the smallest below 0


def test_one_scale_for_all_loses_the_smallest_channel(tmp_path: Path) -> None:
    exact, changed, _ = allocated(separable("HardSwish"), tmp_path, "out", equalization="none")
    assert worst_channel(exact, changed, tmp_path / "data.npz") < 10


def test_a_tensor_with_another_reader_stays(tmp_path: Path) -> None:
    *_, calibration = allocated(separable("HardSwish", other_reader=True), tmp_path, "out")
    assert Calibration.load(calibration).channel_factors == {}


def test_channels_of_one_size_stay_as_they_are() -> None:
    assert channel_factors(np.full(4, -1.0), np.array([2.0, 2.1, 1.8, 2.0])) is None


@given(st.integers(0, 2**32 - 1), st.floats(0, 4))
def test_factors_gain_bits_and_do_not_depend_on_the_sign(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    low, high = np.exp(rng.normal(0, spread, (2, 6))) * (rng.random((2, 6)) > 0.2)
    found, mirrored = channel_factors(-low, high), channel_factors(-high, low)
    assert (found is None) == (mirrored is None)
    if found is None:
        return
    live = low + high > 0
    assert ((found > 0) & (found <= 1)).all()
    shared = (high / found).max() + (low / found).max()
    assert np.log2(shared * found[live]).mean() <= np.log2(low.max() + high.max()) - 1 + 1e-9
