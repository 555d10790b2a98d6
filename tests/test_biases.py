"""int32 biases: none saturates, whatever weights, biases and inputs; onnxruntime is the judge of the files."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.arithmetic.biases import bias_of_its_own_scale, quantize_bias, raised_scale
from mpq_onnx.arithmetic.quantization import LARGEST_SCALE, SMALLEST_SCALE, levels_of
from mpq_onnx.arithmetic.quantized_network import ActivationQuantizer
from mpq_onnx.arithmetic.weights import WeightRules, quantize_to_nearest, weight_grid
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.report.card import (
    COMPUTED_BIASES,
    FLOAT_BIASES,
    OWN_SCALE_BIASES,
    RAISED_CHANNELS,
    bias_notes,
    make_card,
)
from mpq_onnx.report.card_text import NONE
from mpq_onnx.rounding.bias_scales import (
    BiasedProduct,
    with_raised_scales,
    with_scales_of_empty_channels,
    with_scales_of_empty_inputs,
)

FLOAT32_ERROR = 2.0**-22
"""Of a bias: dequantized in float32."""
any_float = st.floats(width=32, allow_nan=False, allow_infinity=False)
CHANNELS = 3


@settings(max_examples=200, deadline=None)
@example(
    np.zeros((CHANNELS, 4), np.float32),
    np.full(CHANNELS, 3.4028e38, np.float32),
    float(np.float32(4e16)),
    1,
    "asymmetric",
)
@given(
    hnp.arrays(np.float32, (CHANNELS, 4), elements=any_float),
    hnp.arrays(np.float32, CHANNELS, elements=any_float),
    st.floats(SMALLEST_SCALE, 2.0**120, width=32),
    st.sampled_from((1, 2, 8, 16)),
    st.sampled_from(("asymmetric", "symmetric", "symmetric-narrow")),
)
def test_no_bias_saturates(
    rows: np.ndarray, bias: np.ndarray, input_scale: float, bits: int, scheme: str
) -> None:
    grids = {"w": weight_grid(rows, np.full(CHANNELS, bits), WeightRules("minmax", scheme))}
    activations = {"x": ActivationQuantizer(np.float32(input_scale), np.float32(0), 256)}
    products = [BiasedProduct("node", "w", "x", bias, CHANNELS)]
    grids = with_raised_scales(grids, products, activations, one_scale=())
    rounded = {"w": quantize_to_nearest(rows, 0, grids["w"])}
    weight = with_scales_of_empty_channels(rounded, products, activations, one_scale=())["w"]
    assert np.isfinite(weight.grid.scale).all()
    assert (weight.grid.scale >= SMALLEST_SCALE).all()
    np.testing.assert_array_equal(weight.integers, rounded["w"].integers)
    quantized = quantize_bias(bias, np.float32(input_scale), weight.grid.scale)
    if quantized is None:  # float32 has no scale that would hold it, or none for the products
        needed = np.abs(bias.astype(np.float64)).max() / 2**30 / input_scale
        step = weight.grid.scale.astype(np.float64) * input_scale
        at_the_end = (np.abs(bias) + step / 2).max() > np.finfo(np.float32).max * (1 - FLOAT32_ERROR)
        assert needed > LARGEST_SCALE or float(weight.grid.scale.max()) * input_scale > 1e38 or at_the_end
        return
    error = np.abs(quantized.dequantized().astype(np.float64) - bias)
    assert (error <= quantized.scale * 0.5 + np.abs(bias) * FLOAT32_ERROR).all()


def test_a_scale_is_raised_only_where_the_bias_needs_it() -> None:
    rows = np.array([[1.0, -1.0], [1e-9, -1e-9], [1e-9, 1e-9]], np.float32)
    bias = np.array([5.0, -5.0, 1e-5], np.float32)
    grid = weight_grid(rows, np.full(3, 8), WeightRules("minmax"))
    scale = raised_scale(grid, bias, np.float32(0.02))
    assert (scale == grid.scale).tolist() == [True, False, True]
    assert scale[1] == pytest.approx(5 / 2**30 / 0.02)


def test_a_weight_of_two_readers_is_raised_as_far_as_both_need_it() -> None:
    rows = np.array([[1e-12, 1e-12], [1.0, 1.0]], np.float32)
    grid = weight_grid(rows, np.full(2, 8), WeightRules("minmax"))
    activations = {
        "x": ActivationQuantizer(np.float32(0.1), np.float32(0), 256),
        "faint": ActivationQuantizer(np.float32(1e-12), np.float32(0), 256),
    }
    bias = np.array([7.0, 7.0], np.float32)
    uses = [BiasedProduct(name, "w", name, bias, 2, readers=2) for name in activations]
    scale = with_raised_scales({"w": grid}, uses, activations, ())["w"].scale
    assert scale[0] == pytest.approx(7 / 2**30 / 0.1)
    assert scale[1] == grid.scale[1]
    assert quantize_bias(bias, np.float32(0.1), scale) is not None
    assert quantize_bias(bias, np.float32(1e-12), scale) is None
    # A reader without an integer bias wants the weight as it is.
    one = with_raised_scales({"w": grid}, uses[:1], activations, ())["w"].scale
    np.testing.assert_array_equal(one, grid.scale)


@pytest.mark.parametrize("spread", [1.0, 1e3, 1e9])
def test_an_input_that_is_always_zero_suits_the_biases_of_all_its_readers(spread: float) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((4, 9)) * np.array([[1], [1], [1 / spread], [1]])).astype(np.float32)
    grids = {name: weight_grid(rows, np.full(4, 8), WeightRules("minmax")) for name in "ab"}
    biases = {"a": np.array([0.4, -3, 2, 1e-3], np.float32), "b": np.array([40, -300, 20, 1], np.float32)}
    activations = {"x": ActivationQuantizer(np.float32(SMALLEST_SCALE), np.float32(0), 1)}
    products = [BiasedProduct(name, name, "x", bias, 4) for name, bias in biases.items()]
    activations = with_scales_of_empty_inputs(activations, products, grids)
    grids = with_raised_scales(grids, products, activations, one_scale=())
    for name, bias in biases.items():
        quantized = quantize_bias(bias, activations["x"].scale, grids[name].scale)
        assert quantized is not None
        half_a_step = (bias.max() - bias.min()) / (levels_of(16) - 1) / 2
        assert np.abs(quantized.dequantized() - bias).max() <= half_a_step


def conv(weight: np.ndarray, bias: np.ndarray, size: int = 6, **attributes) -> onnx.ModelProto:
    """One Conv or ConvTranspose (given `transpose`), ReLU and a Gemm behind it."""
    rng = np.random.default_rng(5)
    transpose = attributes.pop("transpose", False)
    kind = "ConvTranspose" if transpose else "Conv"
    channels = weight.shape[1 if transpose else 0] * (attributes.get("group", 1) if transpose else 1)
    inputs = weight.shape[0] if transpose else weight.shape[1] * attributes.get("group", 1)
    tensors = {"w": weight, "b": bias, "fc": weights(rng, 5, channels), "fb": np.ones(5, np.float32)}
    nodes = [
        helper.make_node(kind, ["x", "w", "b"], ["c"], "conv", **attributes),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "fc", "fb"], ["y"], "fc", transB=1),
    ]
    shape = ["n", inputs, size, size]
    return make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", ["n", 5])], tensors)


def depthwise_tiny() -> onnx.ModelProto:
    """Two of four depthwise channels as BatchNormalization of a dead channel leaves them, biases of both signs."""
    rng = np.random.default_rng(1)
    weight, bias = weights(rng, 4, 1, 3, 3), np.array([0.3, 5.0, -2.0, 4.0], np.float32)
    weight[1] *= 1e-10
    weight[3] *= 1e-20
    return conv(weight, bias, group=4)


def transposed_tiny() -> onnx.ModelProto:
    rng = np.random.default_rng(2)
    weight, bias = weights(rng, 3, 4, 2, 2), np.array([0.3, 50.0, 0.2, 4.0], np.float32)
    weight[:, 1] *= 1e-9
    weight[:, 2] = 0
    return conv(weight, bias, transpose=True, strides=[2, 2])


def loud_biases() -> onnx.ModelProto:
    """Every channel's bias is far beyond its products."""
    rng = np.random.default_rng(3)
    return conv(weights(rng, 4, 3, 3, 3) * 1e-8, np.array([1e3, 7.0, 3e2, 5e2], np.float32))


SIBLINGS = {"depthwise": depthwise_tiny, "transposed": transposed_tiny, "loud": loud_biases}


def allocated(proto: onnx.ModelProto, folder: Path, bits: float = 8, data: str = "", **options):
    """(result, its file's model) of uniform widths rounded to nearest."""
    onnx.save(proto, folder / "float.onnx")
    chosen = dataclasses.replace(
        mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", activation_bit_choices=(8.0, 16.0)),
        **options,
    )
    result = mpq_onnx.allocate(
        folder / "float.onnx",
        data or "random?count=64",
        folder / "out",
        weight_bits=8,
        activation_bits=bits,
        options=chosen,
    )
    return result, onnx.load(result.model_path)


def sqnr_of(result: mpq_onnx.AllocateResult, folder: Path) -> float:
    """Decibels of the float outputs, their mean included, over the file's error, by a plain session."""
    float_file = onnx.load(folder / "float.onnx")
    shape = [each.dim_value for each in float_file.graph.input[0].type.tensor_type.shape.dim[1:]]
    x = np.random.default_rng(9).uniform(-1, 1, (32, *shape)).astype(np.float32)
    exact, found = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for content in (float_file.SerializeToString(), result.model_path)
    )
    return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", SIBLINGS)
def test_networks_with_biases_beyond_their_products(name: str, bits: int, tmp_path: Path) -> None:
    result, model = allocated(SIBLINGS[name](), tmp_path, bits)
    assert sqnr_of(result, tmp_path) > 30
    # A value between two steps may be rounded to either.
    assert min(result.mirror_check.optimized_sqnr, result.mirror_check.unoptimized_sqnr) > 40
    stored = constants(model)
    assert np.abs(stored["conv_bias_quantized"].astype(np.int64)).max() <= 2**30 * (1 + FLOAT32_ERROR)
    raised = {"depthwise": 2, "transposed": 1, "loud": 4}[name]
    assert re.match(rf"{raised} output channels? ha(s|ve) a larger weight scale", result.notes[0])


def test_a_raised_scale_runs_in_integer_kernels(tmp_path: Path) -> None:
    result, _ = allocated(depthwise_tiny(), tmp_path)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(result.model_path, options, providers=["CPUExecutionProvider"])
    assert "QLinearConv" in {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}


@pytest.mark.parametrize(
    "options",
    [
        {"weight_scheme": "symmetric", "activation_scheme": "symmetric"},
        {"weight_scheme": "symmetric-narrow", "activation_scheme": "symmetric-unsigned"},
        {"bias_correction": False},
        {"variance_correction": True},
        {"storage": "packed"},
        {"learned_ranges": True, "method": "gradient", "steps": 3},
    ],
    ids=lambda options: next(iter(options)) + str(next(iter(options.values()))),
)
def test_under_every_scheme_and_correction(options: dict, tmp_path: Path) -> None:
    result, _ = allocated(transposed_tiny(), tmp_path, **options)
    assert sqnr_of(result, tmp_path) > 30
    assert min(result.mirror_check.optimized_sqnr, result.mirror_check.unoptimized_sqnr) > 40


def test_one_scale_for_the_tensor_gives_the_bias_its_own_and_says_so(tmp_path: Path) -> None:
    result, model = allocated(loud_biases(), tmp_path, weight_scales="tensor")
    assert sqnr_of(result, tmp_path) > 30
    stored = constants(model)
    assert stored["conv_bias_quantized"].dtype == np.int8
    assert stored["w_scale"].size == 1
    (note,) = [each for each in result.notes if "bias" in each]
    assert "at conv has its own scale" in note
    card = make_card(load_model(result.model_path), result.bytes)
    assert bias_notes(card) == (note,)
    assert card["biases"]["type"] == "1 own scale, 1 int32"
    # Whoever runs the file with all of onnxruntime's optimizers gets the same: none of them makes an int32 of that bias.
    x = np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32)
    for target in ("ort", "qcdq", "qonnx"):
        mpq_onnx.handoff(result.model_path, tmp_path / target, to=target, data="random?count=8")
    found, exact, clipped = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for path in (
            result.model_path,
            str(tmp_path / "float.onnx"),
            str(tmp_path / "qcdq" / "model.onnx"),
        )
    )
    assert np.abs(found - exact).max() < 0.02 * np.abs(exact).max()
    np.testing.assert_allclose(clipped, found, atol=0.02 * np.abs(exact).max())


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float32, 5, elements=any_float))
def test_a_bias_of_its_own_scale_is_itself(bias: np.ndarray) -> None:
    found = bias_of_its_own_scale(bias)
    assert found.integers.dtype == np.int8
    assert (found.scale >= np.finfo(np.float32).tiny).all()
    np.testing.assert_allclose(found.dequantized(), bias, rtol=FLOAT32_ERROR, atol=2.0**-119)


def test_a_shared_weight_serves_the_reader_whose_input_is_alive(tmp_path: Path) -> None:
    """One Conv on two tensors, each with its bias; one of them is nearly zero."""
    rng = np.random.default_rng(6)
    tensors = {
        "w": weights(rng, 4, 3, 3, 3), "faint": np.array(1e-9, np.float32),
        "b": np.array([0.5, -1, 2, 0.1], np.float32), "c": np.array([3, -5, 7, 9], np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["x", "faint"], ["m"], "mul"),
        helper.make_node("Conv", ["x", "w", "b"], ["u"], "alive"),
        helper.make_node("Conv", ["m", "w", "c"], ["v"], "nearly_dead"),
    ]
    outputs = [("u", ["n", 4, 4, 4]), ("v", ["n", 4, 4, 4])]
    proto = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 6, 6])], outputs, tensors)
    _, model = allocated(proto, tmp_path)
    x = rng.standard_normal((8, 3, 6, 6)).astype(np.float32)
    exact, found = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for content in (proto.SerializeToString(), model.SerializeToString())
    )
    for wanted, got in zip(exact, found, strict=True):
        assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 30


def added_to_products(form: str) -> onnx.ModelProto:
    """Products with a constant added, as exporters write a dense layer: a bias in all but name, which onnxruntime makes int32.

    Args:
        form: "dead" and "faint" in one channel, "silent" everywhere, "loud" biases, "row" for one of shape [1, 6].
    """
    rng = np.random.default_rng(6)
    w, b = weights(rng, 8, 6), weights(rng, 6)
    if form in ("dead", "faint", "row"):
        w[:, 2], b[2] = {"faint": 1e-12}.get(form, 0), 1
    elif form == "silent":
        w *= 0
    else:
        w, b = w * 1e-3, b * 1e4
    tensors = {"w": w, "b": b[None] if form == "row" else b, "v": weights(rng, 6, 5)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Add", ["b", "h"] if form == "row" else ["h", "b"], ["a"], "add"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 8])], [("y", ["n", 5])], tensors)


@pytest.mark.parametrize("scales", ["channel", "tensor"])
@pytest.mark.parametrize("form", ["dead", "faint", "silent", "loud", "row"])
def test_what_is_added_to_a_product_saturates_no_more_than_a_bias(
    form: str, scales: str, tmp_path: Path
) -> None:
    result, _ = allocated(added_to_products(form), tmp_path, weight_scales=scales)
    assert sqnr_of(result, tmp_path) > 30
    assert not result.mirror_check.changed_by_default


@pytest.mark.parametrize("scales", ["channel", "tensor"])
@pytest.mark.parametrize("name", SIBLINGS)
def test_biases_that_stay_float_saturate_no_more(name: str, scales: str, tmp_path: Path) -> None:
    result, _ = allocated(SIBLINGS[name](), tmp_path, bias="float", weight_scales=scales)
    assert sqnr_of(result, tmp_path) > 30
    assert not result.mirror_check.changed_by_default


def test_what_a_session_by_default_makes_of_a_file_is_told(tmp_path: Path) -> None:
    """Activations alone have widths: onnxruntime makes integers of the float weights."""
    onnx.save(
        conv(weights(np.random.default_rng(3), 4, 3, 3, 3), np.ones(4, np.float32)), tmp_path / "float.onnx"
    )
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx",
        "random?count=64",
        tmp_path / "out",
        activation_bits=8,
        options=mpq_onnx.AllocateOptions(method="uniform"),
    )
    check = result.mirror_check
    assert check.changed_by_default and not check.changed_by_optimizer
    assert any(
        "onnxruntime's defaults" in note and f"{check.default_sqnr:.1f} dB" in note for note in result.notes
    )


@pytest.mark.parametrize("storage", ["int8", "packed"])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_dead_channel_keeps_its_bias(bits: int, storage: str, tmp_path: Path) -> None:
    """Channels of zero weights on pixels: each output is its bias to within half a step of the output's quantizer."""
    rng = np.random.default_rng(4)
    weight, bias = weights(rng, 6, 3, 3, 3) / 255, np.array([0.1, 0.4, -0.2, 1e-3, 2.0, 0.3], np.float32)
    weight[[1, 3, 4]] = 0
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")]
    proto = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 3, 5, 5])], [("y", ["n", 6, 3, 3])], {"w": weight, "b": bias}
    )
    pixels = rng.integers(0, 256, (64, 3, 5, 5)).astype(np.float32)
    np.savez(tmp_path / "pixels.npz", x=pixels)
    result, model = allocated(proto, tmp_path, bits, f"npz:{tmp_path}/pixels.npz", storage=storage)
    session = ort.InferenceSession(result.model_path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": pixels})
    step = float(constants(model)["y_scale"])
    for channel in (1, 3, 4):
        assert np.abs(found[:, channel] - bias[channel]).max() <= step / 2 * (1 + 1e-4)


@pytest.mark.parametrize(("channels", "words"), [(1, "1 output channel has"), (2, "2 output channels have")])
def test_raised_channels_are_counted_in_words(channels: int, words: str) -> None:
    biases = {OWN_SCALE_BIASES: NONE, COMPUTED_BIASES: NONE, FLOAT_BIASES: NONE, RAISED_CHANNELS: channels}
    assert [note.startswith(words) for note in bias_notes({"biases": biases})] == [True]


COMPUTED = {
    "Conv": [
        helper.make_node("ReduceMean", ["x"], ["means"], "means", axes=[0, 2, 3], keepdims=0),
        helper.make_node("Conv", ["x", "w", "means"], ["y"], "layer"),
    ],
    "ConvTranspose, behind a view": [
        helper.make_node("ReduceMean", ["x"], ["means"], "means", axes=[0, 2, 3]),
        helper.make_node("Reshape", ["means", "flat"], ["bias"], "view"),
        helper.make_node("ConvTranspose", ["x", "w", "bias"], ["y"], "layer"),
    ],
    "Gemm": [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["rows"], "rows"),
        helper.make_node("ReduceMax", ["rows"], ["largest"], "largest", axes=[1]),
        helper.make_node("Gemm", ["rows", "m", "largest"], ["y"], "layer"),
    ],
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_a_computed_bias_is_called_so(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {"w": weights(rng, 3, 3, 1, 1), "m": weights(rng, 3, 4), "flat": np.array([-1])}
    used = {name for node in COMPUTED[kind] for name in node.input}
    shape = ["n", 4] if kind == "Gemm" else ["n", 3, 6, 6]
    proto = make_model(
        COMPUTED[kind], [("x", TensorProto.FLOAT, ["n", 3, 6, 6])], [("y", shape)],
        {name: array for name, array in tensors.items() if name in used},
    )  # fmt: skip
    result, _ = allocated(proto, tmp_path)
    (note,) = [each for each in result.notes if "bias" in each]
    assert note.startswith("the bias at layer is a computed activation") and "int32" not in note
    biases = make_card(load_model(result.model_path), result.bytes)["biases"]
    assert (biases["type"], biases[COMPUTED_BIASES]) == ("computed", "layer")
    assert biases[OWN_SCALE_BIASES] == biases[FLOAT_BIASES] == NONE
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(result.model_path, options, providers=["CPUExecutionProvider"])
    kernels = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert not any(kernel.startswith("QLinearConv") or kernel == "QGemm" for kernel in kernels)
