"""Quantized files that others wrote: what inspect, card, evaluate, handoff, compare and noise read in them."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

import mpq_onnx

INPUTS, OUTPUTS, STEP = 6, 8, 0.03
RNG = np.random.default_rng(3)
WEIGHT = (RNG.standard_normal((INPUTS, OUTPUTS)) * np.exp(RNG.standard_normal(OUTPUTS))).astype(np.float32)
SCALES = np.abs(WEIGHT).max(axis=0) / 127
INTEGERS = np.round(WEIGHT / SCALES).astype(np.int8)
ACTIVATION = [
    helper.make_node("QuantizeLinear", ["x", "step", "middle"], ["xq"]),
    helper.make_node("DequantizeLinear", ["xq", "step", "middle"], ["xd"]),
]


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], **more) -> onnx.ModelProto:
    known = {"step": np.float32(STEP), "middle": np.uint8(128), "scales": SCALES, **constants}
    graph = helper.make_graph(
        nodes,
        "others",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", OUTPUTS])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in known.items()],
    )
    opsets = [helper.make_opsetid("", 19), *more.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **more)


def product(axis: int, views: list[tuple[str, dict]], stored: np.ndarray, **constants) -> onnx.ModelProto:
    """Of an input on a grid, and a weight that is read back and then viewed."""
    nodes = [*ACTIVATION, helper.make_node("DequantizeLinear", ["w", "scales"], ["v0"], axis=axis)]
    for place, (op_type, attributes) in enumerate(views):
        operands = [f"v{place}", *attributes.get("reads", [])]
        rest = {name: value for name, value in attributes.items() if name != "reads"}
        nodes.append(helper.make_node(op_type, operands, [f"v{place + 1}"], **rest))
    nodes.append(helper.make_node("MatMul", ["xd", f"v{len(views)}"], ["y"], name="product"))
    return model(nodes, {"w": stored, **constants})


TURN, SAME = ("Transpose", {"perm": [1, 0]}), ("Identity", {})
DROPPED = ("Squeeze", {"reads": ["place"]})
WHOLE = ("Reshape", {"reads": ["shape"]})
WRITTEN = {
    "as it is": lambda: product(1, [], INTEGERS),
    "turned": lambda: product(0, [TURN], INTEGERS.T),
    "turned twice": lambda: product(1, [TURN, SAME, TURN], INTEGERS),
    "identity": lambda: product(-1, [SAME], INTEGERS),
    "reshaped": lambda: product(2, [WHOLE], INTEGERS.reshape(2, 3, OUTPUTS), shape=np.array([-1, OUTPUTS])),
    "zeros in the shape": lambda: product(0, [WHOLE, TURN], INTEGERS.T.reshape(OUTPUTS, 2, 3), shape=np.array([0, -1])),
    "squeezed": lambda: product(2, [DROPPED], INTEGERS[None], place=np.array([0])),
    "rounded when it is run": lambda: model(
        [
            *ACTIVATION,
            helper.make_node("QuantizeLinear", ["w", "scales", "zeros"], ["q"], axis=0),
            helper.make_node("DequantizeLinear", ["q", "scales", "zeros"], ["d"], axis=0),
            helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["xd", "t"], ["y"], name="product"),
        ],
        {"w": WEIGHT.T, "zeros": np.zeros(OUTPUTS, np.int8)},
    ),
    "function": lambda: model(
        [
            helper.make_node("Rounded", ["x", "step", "middle"], ["xd"], domain="others"),
            helper.make_node("DequantizeLinear", ["w", "scales"], ["v"], axis=1),
            helper.make_node("MatMul", ["xd", "v"], ["y"], name="product"),
        ],
        {"w": INTEGERS},
        opsets=[helper.make_opsetid("others", 1)],
        functions=[
            helper.make_function(
                "others",
                "Rounded",
                ["a", "s", "z"],
                ["b"],
                [
                    helper.make_node("QuantizeLinear", ["a", "s", "z"], ["q"]),
                    helper.make_node("DequantizeLinear", ["q", "s", "z"], ["b"]),
                ],
                [helper.make_opsetid("", 19)],
            )
        ],
    ),
}  # fmt: skip


@pytest.fixture(params=WRITTEN)
def written(request, tmp_path: Path) -> Path:
    onnx.save(WRITTEN[request.param](), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_weight_is_found_behind_views(written: Path, tmp_path: Path) -> None:
    found = mpq_onnx.inspect(written)
    assert [(each.elements, each.bits) for each in found.layers] == [(WEIGHT.size, 8)]
    assert (found.weights, found.mean_weight_bits, found.activations) == (WEIGHT.size, 8, 1)
    card = mpq_onnx.card(written)
    weights = card["weights"]
    assert (weights["quantized layers"], weights["bits"], weights["scales"]) == ("1 of 1", "8", "per channel")
    assert card["activations"]["bits"] == "8"
    assert mpq_onnx.evaluate(written, "random?count=8", baseline=written).widths.mean_weight_bits == 8
    mpq_onnx.handoff(written, tmp_path / "off", to="json")
    (row,) = json.loads((tmp_path / "off" / "layers.json").read_text())["layers"]
    assert (row["weight_bits"], row["input_bits"]) == (8, 8)
    np.testing.assert_allclose(row["weight_range"], 255 * SCALES, rtol=1e-6)


def test_noise_has_the_range_of_every_channel(written: Path, tmp_path: Path) -> None:
    mpq_onnx.allocate_energy(
        written,
        "random?count=32",
        tmp_path / "noisy",
        energy_per_mac=10,
        options=mpq_onnx.EnergyOptions(("weight",), method="uniform"),
    )
    nodes = [
        node for node in onnx.load(tmp_path / "noisy" / "model.onnx").graph.node if "noise" in node.domain
    ]
    (ranges,) = [
        list(each.floats) for node in nodes for each in node.attribute if each.name == "weight_range"
    ]
    np.testing.assert_allclose(ranges, 255 * SCALES, rtol=1e-6)


FLOATS = {
    TensorProto.FLOAT8E4M3FN: (8, ml_dtypes.float8_e4m3fn),
    TensorProto.FLOAT8E5M2: (8, ml_dtypes.float8_e5m2),
}


def with_floats(kind: int, operand: str, path: Path) -> Path:
    """A product whose weight, and activation where `operand` is dequantized, are floats of a few bits."""
    made = model(
        [
            helper.make_node("QuantizeLinear", ["x", "step", "none"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "step", "none"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "step"], ["v"]),
            helper.make_node("MatMul", [operand, "v"], ["y"], name="product"),
        ][0 if operand == "xd" else 2 :],
        {},
    )
    made.graph.initializer.append(helper.make_tensor("w", kind, WEIGHT.shape, WEIGHT.ravel().tolist()))
    made.graph.initializer.append(helper.make_tensor("none", kind, [], [0.0]))
    onnx.save(made, path)
    return path


@pytest.mark.parametrize("kind", FLOATS)
def test_floats_of_a_few_bits(kind: int, tmp_path: Path) -> None:
    bits, numbers = FLOATS[kind]
    both = with_floats(kind, "xd", tmp_path / "both.onnx")
    found = mpq_onnx.inspect(both)
    assert found.mean_weight_bits == bits and [each.bits for each in found.layers] == [bits]
    card = mpq_onnx.card(both)
    assert (card["weights"]["bits"], card["activations"]["bits"]) == (str(bits), str(bits))
    mpq_onnx.handoff(with_floats(kind, "x", tmp_path / "weights.onnx"), tmp_path / "off", to="json")
    (row,) = json.loads((tmp_path / "off" / "layers.json").read_text())["layers"]
    assert row["weight_bits"] == bits
    np.testing.assert_allclose(row["weight_range"], 2 * STEP * float(ml_dtypes.finfo(numbers).max), rtol=1e-6)


class Batches(CalibrationDataReader):
    """For onnxruntime's calibration."""

    def __init__(self, images: np.ndarray) -> None:
        self.left = iter([{"x": images}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def test_tensors_are_compared_as_their_readers_see_them(tmp_path: Path) -> None:
    """onnxruntime's quantizer leaves a Relu to the quantizer behind it."""
    kernels = {"k": (4, 3, 3, 3), "l": (5, 4, 1, 1)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "k"], ["c"], name="first", pads=[1] * 4),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("Conv", ["r", "l"], ["y"], name="second"),
        ],
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, 6, 6])],
        [
            numpy_helper.from_array((RNG.standard_normal(shape) / 3).astype(np.float32), name)
            for name, shape in kernels.items()
        ],
    )
    images = RNG.standard_normal((32, 3, 6, 6)).astype(np.float32)
    exact, changed = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), exact)
    quantize_static(exact, changed, Batches(images), quant_format=QuantFormat.QDQ, per_channel=True)
    assert "Relu" not in {node.op_type for node in onnx.load(changed).graph.node}
    found = {each.node: each.sqnr for each in mpq_onnx.compare(exact, changed, images)}
    assert found["relu"] > 30 and found["second"] > 25


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_operators_on_integers_have_their_weights(form: QuantFormat, tmp_path: Path) -> None:
    exact, changed = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(with_batch("n"), exact)
    images = RNG.standard_normal((32, 3, 6, 6)).astype(np.float32)
    quantize_static(exact, changed, Batches(images), quant_format=form, per_channel=True)
    found = mpq_onnx.inspect(changed)
    assert [(each.elements, each.bits) for each in found.layers] == [(108, 8), (320, 8)]
    assert (found.weights, found.mean_weight_bits, found.quantized) == (428, 8, True)
    assert found.macs == (27 * 4 * 16 + 320 if form == QuantFormat.QDQ else None)
    weights = mpq_onnx.card(changed)["weights"]
    assert (weights["quantized layers"], weights["bits"], weights["stored as"]) == ("2 of 2", "8", "int8")
    assert weights["share of weights"] == 1


@pytest.mark.parametrize("batch", [1, 4])
def test_macs_of_a_fixed_batch_are_those_of_one_example(batch: int, tmp_path: Path) -> None:
    exact, changed = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(with_batch(batch), exact)
    images = RNG.standard_normal((batch, 3, 6, 6)).astype(np.float32)
    quantize_static(exact, changed, Batches(images), quant_format=QuantFormat.QDQ)
    for path in (exact, changed):
        found = mpq_onnx.inspect(path)
        assert [each.macs for each in found.layers] == [27 * 4 * 16, 320] and found.macs == 27 * 4 * 16 + 320


def with_batch(batch: int | str) -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "k"], ["c"], name="first"),
            helper.make_node("Flatten", ["c"], ["f"], name="flat"),
            helper.make_node("MatMul", ["f", "w"], ["y"], name="second"),
        ],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
        [
            numpy_helper.from_array((RNG.standard_normal(shape) / 3).astype(np.float32), name)
            for name, shape in {"k": (4, 3, 3, 3), "w": (64, 5)}.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
