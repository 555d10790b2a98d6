"""A range of zero width is zero: in quantizers, noise, energies, storage, tables and hand-off."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from conftest import make_model, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from test_cli import run_inside

import mpq_onnx
from mpq_onnx.arithmetic.noise.equivalent_bits import noise_equivalent_bits
from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS, SCHEMES, SMALLEST_SCALE, fake_quantize, levels_of
from mpq_onnx.arithmetic.quantized_network import DynamicQuantizer
from mpq_onnx.arithmetic.weights import WeightRules, quantize_to_nearest, weight_grid
from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.graph.placement.mac_sites import mac_sites
from mpq_onnx.mirror.quantized import ExampleQuantizer
from mpq_onnx.ops.dynamic_quantize import dynamic_quantizer_node
from mpq_onnx.registries import OBSERVERS, STORAGES
from mpq_onnx.runtime.calibration import calibrate

any_float = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None)
@given(any_float, any_float, st.floats(1, MAXIMUM_BITS), st.sampled_from(sorted(SCHEMES)))
def test_every_range_has_a_sound_quantizer(a: float, b: float, bits: float, scheme: str) -> None:
    low, high = np.float32(min(a, b)), np.float32(max(a, b))
    scale, zero_point, levels = SCHEMES[scheme].fit(low, high, levels_of(bits))
    scale = np.float32(scale)
    assert np.isfinite(scale)
    assert scale >= np.float32(SMALLEST_SCALE) > np.finfo(np.float32).tiny
    assert np.float32(scale) * np.float32(SMALLEST_SCALE) >= np.finfo(np.float32).tiny
    assert zero_point == np.round(zero_point)
    assert 0 <= zero_point <= levels - 1
    assert fake_quantize(np.float32(0), scale, zero_point, levels) == 0
    ends = (np.array([0, levels - 1], np.float32) - zero_point) * scale
    assert np.isfinite(ends).all()
    one_level = SCHEMES[scheme].usable(levels_of(bits)) == 1
    assert (ends[0] == ends[1]) == (one_level or low >= 0 >= high)


@pytest.mark.parametrize(
    "low,high", [(0, 1e-40), (-1e-40, 0), (-3e38, 3e38), (0, 3e38), (0, 0), (-1e-45, 1e-45)]
)
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_ends_of_float32_without_a_warning(low: float, high: float, scheme: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scale, zero_point, levels = SCHEMES[scheme].fit(np.float32(low), np.float32(high), 256)
        x = np.linspace(low, high, 9, dtype=np.float32)
        assert np.isfinite(fake_quantize(x, scale, zero_point, levels)).all()


@pytest.mark.parametrize("levels", [2, 16, 255, 256, 65536])
@pytest.mark.parametrize("scheme", ["asymmetric", "symmetric"])
def test_dynamic_ranges_of_examples_that_are_all_zero(scheme: str, levels: int) -> None:
    x = np.random.default_rng(0).standard_normal((6, 3, 4)).astype(np.float32)
    x[[0, 3]] = 0
    x[4] *= 1e-30
    x[5] *= 1e37
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "test",
        [info("x", TensorProto.FLOAT, [6, 3, 4])],
        [info("y", TensorProto.FLOAT, [6, 3, 4])],
    )
    model = ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    )
    node = dynamic_quantizer_node(model, model.graph.inputs[0], DynamicQuantizer(scheme, levels))
    model.graph.insert_before(model.graph[0], node)
    model.graph[1].replace_input_with(0, node.outputs[0])
    session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    assert np.isfinite(found).all()
    assert not found[[0, 3]].any()
    expected = ExampleQuantizer(scheme, levels)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def network(reader: str = "Conv") -> onnx.ModelProto:
    """A ReLU that is always zero, its reader with a bias, a branch that is alive; each weight has a dead channel."""
    rng = np.random.default_rng(0)
    shape = (4, 3, 3, 3)
    tensors = {
        "w": weights(rng, *shape), "wb": np.full(4, -100, np.float32),
        "v": weights(rng, 5, 4, 1, 1), "vb": np.array([0.4, -0.3, 2.0, 0.01, 1.0], np.float32),
        "u": weights(rng, 5, 3, 3, 3), "ub": np.array([0.3, -0.2, 0.1, 0.0, 0.6], np.float32),
    }  # fmt: skip
    tensors["u"][2] = 0
    tensors["v"][1] = 0
    if reader == "ConvTranspose":
        tensors["v"] = np.ascontiguousarray(tensors["v"].transpose(1, 0, 2, 3))
    nodes = [
        helper.make_node("Conv", ["x", "w", "wb"], ["c"], "silent"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node(reader, ["r", "v", "vb"], ["d"], "reader"),
        helper.make_node("Conv", ["x", "u", "ub"], ["e"], "alive"),
        helper.make_node("Add", ["d", "e"], ["y"], "add"),
    ]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 6, 6])], [("y", ["n", 5, 4, 4])], tensors)


DIGITAL = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest")


@pytest.fixture(scope="module", params=["Conv", "ConvTranspose"])
def thermal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(folder, result) of thermal noise on W8A8."""
    folder = tmp_path_factory.mktemp("zero")
    onnx.save(network(request.param), folder / "float.onnx")
    result = mpq_onnx.allocate_energy(
        folder / "float.onnx",
        "random?count=64",
        folder / "out",
        energy_per_mac=10.0,
        options=mpq_onnx.EnergyOptions(
            noise=("thermal",), method="closed-form", granularity="channel", repeats=1
        ),
        weight_bits=8,
        activation_bits=8,
        digital=DIGITAL,
    )
    return folder / "out", result


def attribute(model: onnx.ModelProto, node: str, name: str):
    (found,) = [each for each in model.graph.node if each.name == node]
    return next(helper.get_attribute_value(each) for each in found.attribute if each.name == name)


def test_what_is_always_zero_has_no_noise(thermal) -> None:
    _, result = thermal
    model = onnx.load(result.model_path)
    assert attribute(model, "reader", "input_range") == 0
    assert attribute(model, "alive", "weight_range")[2] == 0
    assert min(np.delete(attribute(model, "alive", "weight_range"), 2)) > 0
    by_node = {each.node: each for each in result.nodes}
    assert by_node["reader"].noise_deviation == 0
    assert by_node["reader"].snr == math.inf
    assert by_node["silent"].noise_equivalent_bits == 0  # its output quantizer has one level
    assert result.noise_check.onnxruntime_sqnr > 20
    session = ort.InferenceSession(result.model_path, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((4, 3, 6, 6)).astype(np.float32)
    draws = np.stack([session.run(None, {"x": x})[0] for _ in range(8)])
    assert (draws[:, :, 2] == draws[0, 0, 2, 0, 0]).all()  # a dead channel, and its input: the bias alone
    assert draws[:, :, 1].std() > 0
    assert draws[0, 0, 2, 0, 0] == pytest.approx(2.1, abs=0.03)
    # What has no noise gets the smallest share.
    energies = result.chosen.allocation.energies()
    assert energies["reader"].max() == pytest.approx(energies["alive"].min())
    assert energies["alive"][2] == energies["alive"].min() < 0.02 * energies["alive"].max()


def test_the_reader_of_what_is_always_zero_gives_its_bias(thermal) -> None:
    folder, _ = thermal
    model = onnx.load(folder / "digital" / "model.onnx")
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    model.graph.output.append(helper.make_tensor_value_info("d", TensorProto.FLOAT, None))
    x = np.random.default_rng(2).standard_normal((4, 3, 6, 6)).astype(np.float32)
    bias = np.array([0.4, -0.3, 2.0, 0.01, 1.0])[:, None, None]
    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(["d"], {"x": x})[0]
        assert np.abs(found - bias).max() <= stored["d_scale"] / 2 * 1.001
    for name, array in stored.items():
        if name.endswith("_scale"):
            assert (array >= np.finfo(np.float32).tiny).all(), name


@pytest.fixture(scope="module")
def digital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digital")
    onnx.save(network(), folder / "float.onnx")
    done = run_inside(
        "allocate", folder / "float.onnx", "--data", "random?count=32", "--weight-bits", 8, "--activation-bits", 8,
        "--method", "uniform", "--rounding", "nearest", "--weight-scheme", "symmetric", "--activation-scheme", "symmetric",
        "-o", folder / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out" / "model.onnx"


@pytest.mark.parametrize("target", ["json", "csv", "timeloop", "zigzag", "qonnx", "qcdq", "ort", "tensorrt"])
def test_every_hand_off_takes_ranges_of_zero(target: str, digital: Path, tmp_path: Path) -> None:
    found = run_inside(
        "handoff", digital, "--to", target, "--data", "random?count=32", "-o", tmp_path / "hand"
    )
    assert found.returncode == 0, found.stderr
    if target == "json":
        document = json.loads((tmp_path / "hand" / "layers.json").read_text())
        rows = {row["name"]: row for row in document["layers"]}
        assert rows["reader"]["input_range"] == rows["reader"]["input_bits"] == 0
        assert rows["reader"]["weight_range"][1] == rows["alive"]["weight_range"][2] == 0
    if target in ("ort", "qcdq"):
        assert "golden ones in onnxruntime: 0" in found.stdout


def foreign(weight: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int | None) -> ir.Model:
    """Another tool's Conv behind QDQ."""
    tensors = {
        "q": weight, "s": scale, "z": zero,
        "xs": np.array(0.1, np.float32), "xz": np.array(3, np.uint8),
    }  # fmt: skip
    along = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], "quantize"),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"], "dequantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], "weight", **along),
        helper.make_node("Conv", ["xd", "w"], ["y"], "conv"),
    ]
    size = ["n", weight.shape[0], 4, 4]
    proto = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 2, 4, 4])], [("y", size)], tensors)
    return ir.from_proto(proto)


def ranges_of(model: ir.Model, channels: int) -> tuple[float, ...] | None:
    shapes = {"x": (1, 2, 4, 4), "xd": (1, 2, 4, 4), "y": (1, channels, 4, 4)}
    (site,) = mac_sites(model, shapes, {})
    assert site.input_range == pytest.approx(25.5)
    return site.weight_range


def test_ranges_of_other_tools_files() -> None:
    weight = np.random.default_rng(0).integers(-127, 128, (3, 2, 1, 1)).astype(np.int8)
    weight[1] = 5
    scales, zeros = np.array([0.1, 1.0, 0.2], np.float32), np.array([0, 5, 0], np.int8)
    assert ranges_of(foreign(weight, scales, zeros, 0), 3) == pytest.approx((25.5, 0, 51))
    # A value that stands beside its zero point is a weight, and one scale for all is that of the others.
    assert ranges_of(foreign(weight, scales, np.zeros(3, np.int8), 0), 3) == pytest.approx((25.5, 255, 51))
    one = foreign(weight, np.array(0.1, np.float32), np.array(5, np.int8), None)
    assert ranges_of(one, 3) == pytest.approx((25.5,))
    nothing = foreign(np.full_like(weight, 5), np.array(1, np.float32), np.array(5, np.int8), None)
    assert ranges_of(nothing, 3) == (0,)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("storage", sorted(STORAGES))
@pytest.mark.parametrize("dead", [[], [1], [0, 2], [0, 1, 2]])
def test_stored_weights_with_channels_of_zero_width(dead: list[int], storage: str, bits: int) -> None:
    w = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    w[dead] = 0
    weight = quantize_to_nearest(w, 0, weight_grid(w, np.full(3, bits), WeightRules()))
    proto = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        [("x", TensorProto.FLOAT, ["n", 3])], [("y", ["n", 5])], {"w": w}, opset=21,
    )  # fmt: skip
    proto.ir_version = 10
    model = ir.from_proto(proto)
    value = STORAGES[storage](model, "w", weight)
    ir.convenience.replace_all_uses_with(model.graph.initializers["w"], value)
    session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.eye(3, dtype=np.float32)})
    np.testing.assert_allclose(found, weight.dequantized(), rtol=1e-6)
    assert not found[dead].any()
    # Pruned channels take no bytes: only the stream of bits holds widths side by side.
    unpacked = not model.functions
    assert unpacked == (storage != "packed" or (bits in (4, 8, 16) and not dead))


@pytest.mark.parametrize("observer", sorted(OBSERVERS))
def test_a_rare_signal_is_not_taken_for_zero(observer: str, tmp_path: Path) -> None:
    x = np.zeros((40, 1000), np.float32)
    x[7, 3] = 2.0
    np.savez(tmp_path / "rare.npz", x=x)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Sub", ["r", "r"], ["y"], "sub"),
    ]
    proto = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 1000])], [("y", ["n", 1000])], {})
    onnx.save(proto, tmp_path / "model.onnx")
    model = ir.from_proto(proto)
    dataset = open_dataset(f"npz:{tmp_path}/rare.npz", model_inputs(model), {})
    shapes = {"r": (1, 1000), "y": (1, 1000)}
    found = calibrate(model, ["r", "y"], dataset, shapes, observer, "cpu").tensors
    scale, zero_point, levels = found["r"].quantizer(8)
    assert levels > 1
    assert fake_quantize(np.float32(2.0), scale, zero_point, levels) > 0
    assert found["y"].quantizer(8)[2] == 1
    assert np.isfinite(found["y"].errors).all()


@pytest.mark.parametrize(
    ("value_range", "deviation", "bits"),
    [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, math.inf), (math.sqrt(12), 1.0, 1.0)],
)
def test_noise_equivalent_bits_at_zero(value_range: float, deviation: float, bits: float) -> None:
    assert noise_equivalent_bits(value_range, deviation) == bits


def test_energies_where_nothing_is_noisy(tmp_path: Path) -> None:
    """Every weight is zero: no noise anywhere, and equal energies."""
    proto = make_model(
        [helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first"), helper.make_node("Gemm", ["h", "v"], ["y"], "second")],
        [("x", TensorProto.FLOAT, ["n", 4])], [("y", ["n", 3])],
        {"w": np.zeros((4, 5), np.float32), "b": np.arange(5, dtype=np.float32), "v": np.zeros((5, 3), np.float32)},
    )  # fmt: skip
    onnx.save(proto, tmp_path / "float.onnx")
    result = mpq_onnx.allocate_energy(
        tmp_path / "float.onnx",
        "random?count=32",
        tmp_path / "out",
        energy_per_mac=4.0,
        options=mpq_onnx.EnergyOptions(noise=("thermal",), method="closed-form", repeats=1),
        weight_bits=8,
        activation_bits=8,
        digital=DIGITAL,
    )
    np.testing.assert_allclose(np.concatenate(list(result.chosen.allocation.energies().values())), 4.0)
    assert all(each.noise_deviation == 0 for each in result.nodes)
