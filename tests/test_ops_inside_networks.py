"""Operators that few networks have, between products: allocated, written, and judged by onnxruntime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_model
from onnx import NodeProto, TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.errors import ModelError
from mpq_onnx.mirror import build_mirror

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


IMAGE, SOUND, TOKENS = [3, 8, 8], [64, 1], [5, 6]
Kind = tuple[list[int], Sequence[NodeProto], list[int | str], dict[str, np.ndarray]]
KINDS: dict[str, Kind] = {
    "a warp by a flow that the network finds": (
        IMAGE,
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], "first", pads=[1] * 4),
            helper.make_node("Conv", ["x", "w2"], ["flow"], "flow", pads=[1] * 4),
            helper.make_node("Tanh", ["flow"], ["places"], "places"),
            helper.make_node("Transpose", ["places"], ["grid"], "grid", perm=[0, 2, 3, 1]),
            helper.make_node("GridSample", ["a", "grid"], ["warped"], "warp", align_corners=1),
            helper.make_node("Conv", ["warped", "w3"], ["y"], "last", pads=[1] * 4),
        ],
        ["n", 4, 8, 8],
        {"w1": weights(4, 3, 3, 3), "w2": weights(2, 3, 3, 3, seed=1), "w3": weights(4, 4, 3, 3, seed=2)},
    ),
    "a spectrum": (
        SOUND,
        [
            helper.make_node("STFT", ["x", "step", "window"], ["s"], "stft", onesided=1),
            helper.make_node("ReduceSumSquare", ["s"], ["power"], "power", axes=[-1], keepdims=0),
            helper.make_node("MatMul", ["power", "mel"], ["m"], "mel"),
            helper.make_node("Relu", ["m"], ["r"], "relu"),
            helper.make_node("MatMul", ["r", "w"], ["y"], "last"),
        ],
        ["n", 7, 4],
        {
            "step": np.array(8), "window": np.hanning(16).astype(np.float32), "mel": np.abs(weights(9, 6)),
            "w": weights(6, 4, seed=1),
        },
    ),
    "sequences backwards": (
        TOKENS,
        [
            helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
            helper.make_node("Relu", ["a"], ["r"], "relu"),
            helper.make_node("Shape", ["x"], ["count"], "count", start=0, end=1),
            helper.make_node("Expand", ["lengths", "count"], ["each"], "each"),
            helper.make_node("ReverseSequence", ["r", "each"], ["back"], "back", batch_axis=0, time_axis=1),
            helper.make_node("Add", ["r", "back"], ["both"], "both"),
            helper.make_node("MatMul", ["both", "w2"], ["y"], "last"),
        ],
        ["n", 5, 3],
        {"w1": weights(6, 8), "w2": weights(8, 3, seed=1), "lengths": np.array([4])},
    ),
    "the largest alone": (
        TOKENS,
        [
            helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
            helper.make_node("Hardmax", ["a"], ["one"], "one", axis=-1),
            helper.make_node("Mul", ["a", "one"], ["kept"], "kept"),
            helper.make_node("MatMul", ["kept", "w2"], ["y"], "last"),
        ],
        ["n", 5, 3],
        {"w1": weights(6, 8), "w2": weights(8, 3, seed=1)},
    ),
    "a box of every image": (
        IMAGE,
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], "first", pads=[1] * 4),
            helper.make_node("Shape", ["x"], ["count"], "count", start=0, end=1),
            helper.make_node("Concat", ["count", "four"], ["shape"], "shape", axis=0),
            helper.make_node("Expand", ["box", "shape"], ["boxes"], "boxes"),
            helper.make_node("Squeeze", ["count"], ["end"], "end"),
            helper.make_node("Range", ["zero", "end", "one"], ["images"], "images"),
            helper.make_node("RoiAlign", ["a", "boxes", "images"], ["cells"], "align", output_height=3, output_width=3),
            helper.make_node("Conv", ["cells", "w2"], ["y"], "last"),
        ],
        ["n", 4, 1, 1],
        {
            "w1": weights(4, 3, 3, 3), "w2": weights(4, 4, 3, 3, seed=1), "four": np.array([4]), "zero": np.array(0),
            "one": np.array(1), "box": np.array([[1.5, 0.5, 6, 7]], np.float32),
        },
    ),
    "largest values put back in their places": (
        IMAGE,
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], "first", pads=[1] * 4),
            helper.make_node("MaxPool", ["a"], ["p", "places"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["p", "w2"], ["c"], "middle", pads=[1] * 4),
            helper.make_node("MaxUnpool", ["c", "places"], ["u"], "unpool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("ReduceMean", ["u"], ["m"], "mean", axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["m", "w3"], ["y"], "last"),
        ],
        ["n", 3],
        {"w1": weights(4, 3, 3, 3), "w2": weights(4, 4, 3, 3, seed=1), "w3": weights(4, 3, seed=2)},
    ),
    "a deformable convolution": (
        IMAGE,
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], "first", pads=[1] * 4),
            helper.make_node("Conv", ["x", "w2"], ["moves"], "moves", pads=[1, 1, 0, 0], strides=[2, 2]),
            helper.make_node("DeformConv", ["a", "w3", "moves"], ["d"], "deformable", pads=[1, 1, 0, 0], strides=[2, 2]),
            helper.make_node("Relu", ["d"], ["r"], "relu"),
            helper.make_node("Conv", ["r", "w4"], ["y"], "last", pads=[1] * 4),
        ],
        ["n", 4, 4, 4],
        {
            "w1": weights(4, 3, 3, 3), "w2": weights(18, 3, 3, 3, seed=1) / 4, "w3": weights(6, 4, 3, 3, seed=2),
            "w4": weights(4, 6, 3, 3, seed=3),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_such_a_network_gets_widths_and_noise(kind: str, tmp_path: Path) -> None:
    shape, nodes, output, tensors = KINDS[kind]
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", FLOAT, output)],
        [numpy_helper.from_array(each, name) for name, each in tensors.items() if name in read],
    )
    source, opset = tmp_path / "m.onnx", 19 if any(node.op_type == "DeformConv" for node in nodes) else 17
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), source)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(0, 1, (64, *shape)).astype(np.float32))
    result = mpq_onnx.allocate(
        source, f"npz:{tmp_path / 'x.npz'}", tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    feeds = {"x": rng.normal(0, 1, (64, *shape)).astype(np.float32)}
    exact, found = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for path in (source, result.model_path)
    )
    alike = (
        np.abs(exact - found).max(axis=-1) < 0.1 * np.abs(exact).max()
    )  # of two that are nearly as large, the other may be
    assert alike.mean() > 0.9
    assert 10 * np.log10((exact[alike] ** 2).sum() / ((exact - found)[alike] ** 2).sum()) > 20
    noisy = mpq_onnx.allocate_energy(
        source, f"npz:{tmp_path / 'x.npz'}", tmp_path / "noisy", energy_per_mac=100,
        options=mpq_onnx.EnergyOptions(("shot",), effort="quick", repeats=1),
    )  # fmt: skip
    check = noisy.noise_check
    assert check.onnxruntime_sqnr == pytest.approx(check.mirror_sqnr, abs=1.5)


def test_the_largest_sample_of_a_box_is_refused_when_the_model_is_read(tmp_path: Path) -> None:
    """In front of a product; behind the last it is post-processing."""
    shape, nodes, _, tensors = KINDS["a box of every image"]
    path = tmp_path / "m.onnx"
    for last in (nodes[-1], helper.make_node("Relu", ["cells"], ["y"], "last")):
        used = [*nodes[:-1], last]
        align = helper.make_node(
            "RoiAlign",
            ["a", "boxes", "images"],
            ["cells"],
            "align",
            output_height=3,
            output_width=3,
            mode="max",
        )
        used[used.index(nodes[-2])] = align
        inputs = [("x", FLOAT, ["n", *shape])]
        onnx.save(make_model(used, inputs, [("y", ["n", 4, None, None])], tensors), path)
        refused = mpq_onnx.inspect(path).unsupported
        if last is nodes[-1]:
            assert refused == {"RoiAlign with mode max": ("align",)}
            with pytest.raises(
                ModelError, match=r"op RoiAlign with mode max .* of node align has no torch mirror"
            ):
                build_mirror(ir.from_proto(onnx.load(path)), "m.onnx")
        else:
            assert refused == {}
