"""Stored weights read back as the very numbers that were stored, by onnxruntime."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_model
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mpq_onnx.arithmetic.weights import WeightRules, channel_rows, quantize_to_nearest, weight_grid
from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.registries import STORAGES


def read_back(quantized, storage: str) -> tuple[np.ndarray, int]:
    """(the values that onnxruntime computes, bytes of the stored integers)."""
    shape = quantized.integers.shape
    proto = make_model(
        [helper.make_node("Add", ["x", "w"], ["y"], "add")],
        [("x", TensorProto.FLOAT, list(shape))],
        [("y", list(shape))],
        {"w": np.zeros(shape, np.float32)},
        opset=21,
    )
    model = ir.from_proto(proto)
    model.ir_version = 10
    value = STORAGES[storage](model, "w", quantized)
    ir.convenience.replace_all_uses_with(model.graph.initializers["w"], value)
    del model.graph.initializers["w"]
    session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.zeros(shape, np.float32)})
    stored = sum(
        initializer.const_value.nbytes
        for name, initializer in model.graph.initializers.items()
        if name.endswith(("_quantized", "_packed"))
    )
    return found, stored


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16]), min_size=1, max_size=9),
    st.integers(1, 12),
    st.integers(0, 2),
    st.sampled_from(list(STORAGES)),
)
@example([0, 8], 2, 0, "packed")
@example([4, 0, 4], 3, 1, "packed")
def test_any_mix_of_widths_reads_back_exactly(widths: list[int], taps: int, axis: int, storage: str) -> None:
    rng = np.random.default_rng(taps)
    weight = np.moveaxis(rng.standard_normal((len(widths), taps, 2)).astype(np.float32), 0, axis)
    grid = weight_grid(channel_rows(weight, axis), np.array(widths), WeightRules("minmax"))
    quantized = quantize_to_nearest(weight, axis, grid)
    found, stored = read_back(quantized, storage)
    np.testing.assert_array_equal(found, quantized.dequantized())
    if storage == "packed":
        promised = sum(widths) * taps * 2 / 8
        assert promised <= stored <= promised + 3


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("widths", [[0], [0, 0], [8, 0], [3, 0], [0, 5]])
def test_pruned_channels_read_back_wherever_they_are(widths: list[int], storage: str) -> None:
    weight = np.random.default_rng(0).standard_normal((len(widths), 8)).astype(np.float32)
    quantized = quantize_to_nearest(weight, 0, weight_grid(weight, np.array(widths), WeightRules("minmax")))
    found, _ = read_back(quantized, storage)
    np.testing.assert_array_equal(found, quantized.dequantized())
    assert not found[np.array(widths) == 0].any()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_native_widths(storage: str, bits: int) -> None:
    weight = np.random.default_rng(0).standard_normal((5, 7, 3, 3)).astype(np.float32)
    grid = weight_grid(channel_rows(weight, 0), np.full(5, bits), WeightRules("mse"))
    quantized = quantize_to_nearest(weight, 0, grid)
    found, stored = read_back(quantized, storage)
    np.testing.assert_array_equal(found, quantized.dequantized())
    expected = bits if storage == "packed" else max(bits, 8)
    assert stored == -(-weight.size * expected // 8)


def test_a_skewed_grid_reads_back() -> None:
    weight = (
        np.random.default_rng(0).uniform(0.5, 1, (4, 9)).astype(np.float32)
    )  # all positive: a skewed grid
    quantized = quantize_to_nearest(
        weight, 0, weight_grid(channel_rows(weight, 0), np.full(4, 7), WeightRules("mse"))
    )
    assert quantized.grid.zero_point.max() == 0
    found, _ = read_back(quantized, "int8")
    np.testing.assert_array_equal(found, quantized.dequantized())


@pytest.mark.parametrize("bits", [2, 4, 6, 7, 8])
@pytest.mark.parametrize("storage", STORAGES)
def test_no_integer_kernel_saturates(bits: int, storage: str) -> None:
    """Full-scale activations and weights: x86 kernels without VNNI add pairs of uint8 x int8 products in 16 bits."""
    channels, taps = 4, 32
    weight = np.ones((taps, channels), np.float32)
    weight[:, 1] = -1
    weight[0] = [0.5, -0.5, -1, 1]
    quantized = quantize_to_nearest(
        weight, 1, weight_grid(weight.T, np.full(channels, bits), WeightRules("minmax"))
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "dequantize"),
        helper.make_node("MatMul", ["d", "w"], ["y"], "product"),
    ]
    constants = {"scale": np.float32(1 / 255), "zero": np.uint8(0), "w": weight}
    shapes = [("x", TensorProto.FLOAT, ["n", taps])], [("y", ["n", channels])]
    model = ir.from_proto(make_model(nodes, *shapes, constants, opset=21))
    model.ir_version = 10
    ir.convenience.replace_all_uses_with(
        model.graph.initializers["w"], STORAGES[storage](model, "w", quantized)
    )
    del model.graph.initializers["w"]
    session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    x = np.ones((3, taps), np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ quantized.dequantized(), rtol=1e-3)
