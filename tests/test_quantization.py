"""The affine arithmetic, as properties; onnxruntime's QuantizeLinear is the judge of the rounding."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mpq_onnx.arithmetic.biases import quantize_bias
from mpq_onnx.arithmetic.quantization import asymmetric_grid, fake_quantize, levels_of, quantize, stored_bits

floats = st.floats(-1e4, 1e4, width=32)
bits = st.integers(1, 16)


@given(floats, floats, bits)
def test_zero_is_a_level_and_there_are_exactly_that_many_levels(a: float, b: float, width: int) -> None:
    low, high = np.float32(min(a, b)), np.float32(max(a, b))
    levels = levels_of(width)
    scale, zero_point = asymmetric_grid(low, high, levels)
    assert scale > 0
    assert 0 <= zero_point <= levels - 1
    assert fake_quantize(np.float32(0), scale, zero_point, levels) == 0
    far = np.array([-1e9, 1e9], np.float32)
    assert quantize(far, scale, zero_point, levels).tolist() == [0, levels - 1]


@given(st.lists(floats, min_size=2, max_size=50), bits)
def test_error_inside_the_range_is_at_most_half_a_step(values: list[float], width: int) -> None:
    x = np.array(values, np.float32)
    levels = levels_of(width)
    scale, zero_point = asymmetric_grid(x.min(), x.max(), levels)
    # The zero point is rounded, so the ends of the range may be cut by half a step more.
    error = np.abs(fake_quantize(x.astype(np.float64), np.float64(scale), zero_point, levels) - x)
    assert error.max() <= float(scale) * (1 + 1e-5)
    inner = (x > x.min() + scale) & (x < x.max() - scale)
    assert not inner.any() or error[inner].max() <= float(scale) * 0.5001


@given(st.lists(floats, min_size=1, max_size=50), bits)
def test_quantizing_twice_changes_nothing(values: list[float], width: int) -> None:
    x = np.array(values, np.float32)
    levels = levels_of(width)
    scale, zero_point = asymmetric_grid(x.min(), x.max(), levels)
    once = fake_quantize(x, scale, zero_point, levels)
    np.testing.assert_allclose(fake_quantize(once, scale, zero_point, levels), once, rtol=1e-6)


@given(st.lists(floats, min_size=1, max_size=50), bits)
def test_numpy_and_torch_agree_bit_for_bit(values: list[float], width: int) -> None:
    x = np.array(values, np.float32)
    levels = levels_of(width)
    scale, zero_point = asymmetric_grid(x.min(), x.max(), levels)
    with_torch = fake_quantize(torch.from_numpy(x), torch.tensor(scale), torch.tensor(zero_point), levels)
    np.testing.assert_array_equal(fake_quantize(x, scale, zero_point, levels), with_torch.numpy())


def test_more_bits_never_hurt_on_data() -> None:
    x = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    errors = []
    for width in range(1, 13):
        scale, zero_point = asymmetric_grid(x.min(), x.max(), levels_of(width))
        errors.append(float(((x - fake_quantize(x, scale, zero_point, levels_of(width))) ** 2).mean()))
    assert errors == sorted(errors, reverse=True)
    # Uniform noise of one step: 6.02 dB a bit.
    assert errors[9] / errors[10] == pytest.approx(4, rel=0.1)


def test_one_level_prunes() -> None:
    x = np.linspace(-3, 5, 7, dtype=np.float32)
    scale, zero_point = asymmetric_grid(x.min(), x.max(), levels_of(0))
    assert not fake_quantize(x, scale, zero_point, 1).any()


@settings(max_examples=25, deadline=None)
@given(st.lists(floats, min_size=1, max_size=64))
def test_onnxruntime_quantizes_to_the_same_integers(values: list[float]) -> None:
    x = np.array(values, np.float32)
    scale, zero_point = asymmetric_grid(x.min(), x.max(), 256)
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])],
        "q",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("z", TensorProto.UINT8, []),
        ],
        [helper.make_tensor_value_info("q", TensorProto.UINT8, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": x, "s": np.array(scale, np.float32), "z": np.array(zero_point, np.uint8)}
    (found,) = session.run(None, feeds)
    np.testing.assert_array_equal(found, quantize(x, scale, zero_point, 256).astype(np.uint8))


@pytest.mark.parametrize(("levels", "expected"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)])
def test_stored_bits(levels: int, expected: int) -> None:
    assert stored_bits(levels) == expected


def test_bias_is_within_half_a_step_or_refused() -> None:
    bias = np.array([0.5, -0.1, 1e9], np.float32)
    scales = np.array([0.02, 0.5, 1e-6], np.float32)
    quantized = quantize_bias(bias[:2], np.float32(0.01), scales[:2])
    assert quantized is not None
    assert np.abs(quantized.dequantized() - bias[:2]).max() <= 0.005 / 2
    assert quantize_bias(bias, np.float32(0.01), scales) is None  # 1e17 steps: nothing is clipped in silence
