"""One quantizer behind what integer hardware computes before it rounds: normalizations, constant scales and shifts."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.graph.placement import ActivationSite, find_sites
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.tensors import tensor_shapes

SIDE, CHANNELS = 8, 4
OPTIONS = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest")


def normalized_channels(multiplier: str, normalization: str) -> onnx.ModelProto:
    """Channels of 1e-3 to 1 of the same scale behind a normalization."""
    rng = np.random.default_rng(0)
    scales = np.logspace(-3, 0, CHANNELS).astype(np.float32)
    kernel = weights(rng, CHANNELS, CHANNELS, 3, 3)
    wide = kernel * (scales[:, None, None, None] if multiplier == "Conv" else scales[:, None, None])
    tensors = {
        "w": wide,
        "g": np.ones(CHANNELS, np.float32),
        "b": np.full(CHANNELS, 0.1, np.float32),
    }
    nodes = [
        helper.make_node(multiplier, ["x", "w"], ["wide"], "multiply", pads=[1] * 4),
        helper.make_node(
            normalization, ["wide", "g", "b"], ["same"], "normalize", epsilon=1e-12,
            **({"num_groups": CHANNELS} if normalization == "GroupNormalization" else {}),
        ),
        helper.make_node("Relu", ["same"], ["y"], "rectify"),
    ]  # fmt: skip
    shape = ["n", CHANNELS, SIDE, SIDE]
    return make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", shape)], tensors, opset=21)


def saved(model: onnx.ModelProto, folder: Path, shape: tuple[int, ...]) -> tuple[Path, str]:
    onnx.save(model, folder / "source.onnx")
    mpq_onnx.export(str(folder / "source.onnx"), folder / "float.onnx")
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    return folder / "float.onnx", f"npz:{folder / 'data.npz'}"


def quantized_ops(path: Path, spec: str) -> list[str]:
    return [site.op_type for site in sites_of(path, spec)]


def sites_of(path: Path, spec: str) -> tuple[ActivationSite, ...]:
    base = load_float_model(path)
    return find_sites(base.model, tensor_shapes(base.model, base.open_data(spec), "cpu")).activations


@pytest.mark.parametrize("multiplier", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("normalization", ["InstanceNormalization", "GroupNormalization"])
def test_small_channels_ahead_of_a_normalization_keep_their_signal(
    tmp_path: Path, multiplier: str, normalization: str
) -> None:
    path, spec = saved(normalized_channels(multiplier, normalization), tmp_path, (16, CHANNELS, SIDE, SIDE))
    mpq_onnx.allocate(path, spec, tmp_path / "out", weight_bits=8, activation_bits=8, options=OPTIONS)
    assert quantized_ops(path, spec) == ["Input", "Relu"]
    x = np.load(tmp_path / "data.npz")["x"]
    exact, rounded = (
        ort.InferenceSession(file).run(None, {"x": x})[0] for file in (path, tmp_path / "out" / "model.onnx")
    )
    signal, noise = (np.square(each).sum(axis=(0, 2, 3)) for each in (exact, rounded - exact))
    assert (10 * np.log10(signal / noise) > 30).all()  # the smallest channel had 0 dB with a quantizer ahead


def scaled_and_shifted(style: str) -> onnx.ModelProto:
    """An activation function, a constant scale and shift, a classifier; as several exporters write it."""
    rng = np.random.default_rng(0)
    tensors = {
        "w1": weights(rng, 6, 8), "w2": weights(rng, 8, 3),
        "scale": np.array(1.7, np.float32), "shift": np.array([-0.4], np.float32),
        "channels": rng.uniform(0.5, 2, 8).astype(np.float32),
        "table": rng.uniform(0.5, 2, (8, 8)).astype(np.float32),
    }  # fmt: skip
    after = {
        "scale, then shift": [("Mul", ["a", "scale"], "s"), ("Add", ["s", "shift"], "z")],
        "shift, then channels": [("Sub", ["shift", "a"], "s"), ("Div", ["s", "channels"], "z")],
        "reciprocal": [("Div", ["scale", "a"], "s"), ("Add", ["s", "shift"], "z")],
        "table": [("Unsqueeze", ["a", "one"], "u"), ("Mul", ["u", "table"], "t"), ("ReduceSum", ["t", "one"], "z")],
        "read twice": [("Mul", ["a", "scale"], "s"), ("Add", ["a", "s"], "z")],
    }[style]  # fmt: skip
    tensors["one"] = np.array([1], np.int64)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m"], "first"),
        helper.make_node("Sigmoid", ["m"], ["a"], "activation"),
        *(helper.make_node(op, ins, [out], out, **({"keepdims": 0} if op == "ReduceSum" else {})) for op, ins, out in after),
        helper.make_node("MatMul", ["z", "w2"], ["y"], "last"),
    ]  # fmt: skip
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 3])], tensors, opset=21)


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("scale, then shift", ["Input", "Add", "MatMul"]),
        ("shift, then channels", ["Input", "Div", "MatMul"]),
        ("reciprocal", ["Input", "MatMul", "Add", "MatMul"]),  # what is divided by is exact
        ("table", ["Input", "Sigmoid", "Mul", "ReduceSum", "MatMul"]),
        ("read twice", ["Input", "Sigmoid", "Mul", "Add", "MatMul"]),
    ],
)
def test_constant_scales_and_shifts_are_rounded_once(tmp_path: Path, style: str, expected: list[str]) -> None:
    path, spec = saved(scaled_and_shifted(style), tmp_path, (32, 6))
    assert quantized_ops(path, spec) == expected


def test_an_input_of_another_type_keeps_its_own_width(tmp_path: Path) -> None:
    """Cast, Sub, Div: the input is quantized behind them, at a fixed width."""
    rng = np.random.default_rng(0)
    tensors = {
        "mean": np.array([110], np.float32),
        "std": np.array([58], np.float32),
        "w": weights(rng, 6, 3),
    }
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], "enter", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "mean"], ["c"], "centre"),
        helper.make_node("Div", ["c", "std"], ["d"], "divide"),
        helper.make_node("MatMul", ["d", "w"], ["y"], "last"),
    ]
    model = make_model(nodes, [("x", TensorProto.FLOAT16, ["n", 6])], [("y", ["n", 3])], tensors, opset=21)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    np.savez(tmp_path / "data.npz", x=rng.integers(0, 256, (16, 6)).astype(np.float16))
    sites = sites_of(tmp_path / "float.onnx", f"npz:{tmp_path / 'data.npz'}")
    assert [(site.op_type, site.fixed_bits) for site in sites] == [
        ("Div", 8),
        ("MatMul", None),
    ]


COMPRESSED = {
    "magnitude": [("Pow", ["re", "two"], "p"), ("Pow", ["im", "two"], "q"), ("Add", ["p", "q"], "s"), ("Sqrt", ["s"], "z")],
    "squares": [
        ("Mul", ["re", "re"], "p"), ("Mul", ["im", "im"], "q"), ("Sum", ["p", "q"], "s"), ("Add", ["s", "tiny"], "t"),
        ("Sqrt", ["t"], "z"),
    ],
    "logarithm": [
        ("Mul", ["m", "m"], "p"), ("ReduceSum", ["p", "last"], "s"), ("Add", ["s", "tiny"], "t"), ("Log", ["t"], "z"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("style", COMPRESSED)
def test_powers_are_rounded_behind_their_root(style: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = 4 if style != "logarithm" else 1
    tensors = {
        "w1": weights(rng, 6, 8), "w2": weights(rng, columns, 3), "two": np.array(2, np.float32),
        "tiny": np.array(1e-6, np.float32), "last": np.array([-1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m"], "first"),
        helper.make_node("Split", ["m"], ["re", "im"], "split", axis=-1, num_outputs=2),
        *(helper.make_node(op, ins, [out], out) for op, ins, out in COMPRESSED[style]),
        helper.make_node("MatMul", ["z", "w2"], ["y"], "last_product"),
    ]
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 3])], tensors, opset=21)
    path, spec = saved(model, tmp_path, (32, 6))
    assert quantized_ops(path, spec) == [
        "Input",
        "MatMul",
        "Log" if style == "logarithm" else "Sqrt",
        "MatMul",
    ]
