"""Networks that take one image without an axis of examples: they go through every stage one image at a time."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.graph.whole_images import has_whole_images

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(0, 1, (40, 3, 8, 8)).astype(np.float32)


def network(turned: bool = False, open_sizes: bool = False, opset: int = 17) -> onnx.ModelProto:
    """Mean and deviation, the network's own axis of examples, a convolution, a head, and no axis of examples again."""
    shape = [3, "height", "width"] if open_sizes else [3, 8, 8]
    with_axes = opset >= 13
    axes = (["axis"], {}) if with_axes else ([], {"axes": [0]})
    nodes = [
        helper.make_node("Sub", ["chw", "mean"], ["centred"], "mean"),
        helper.make_node("Div", ["centred", "deviation"], ["normal"], "deviation"),
        helper.make_node("Unsqueeze", ["normal", *axes[0]], ["one"], "batch", **axes[1]),
        helper.make_node("Conv", ["one", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "v"], ["scores"], "head"),
        helper.make_node("Squeeze", ["scores", *axes[0]], ["y"], "first", **axes[1]),
    ]
    if turned:
        nodes.insert(0, helper.make_node("Transpose", ["image"], ["chw"], "turn", perm=[2, 0, 1]))
        shape = [*shape[1:], 3]
    else:
        nodes[0].input[0] = "image"
    tensors = {
        "mean": RNG.normal(0, 1, (3, 1, 1)).astype(np.float32), "deviation": np.full((3, 1, 1), 2, np.float32),
        "w": weights(RNG, 6, 3, 3, 3), "v": weights(RNG, 6, 5), "axis": np.array([0]),
    }  # fmt: skip
    if not with_axes:
        del tensors["axis"]
    return make_model(nodes, [("image", TensorProto.FLOAT, shape)], [("y", [5])], tensors, opset)


def answers(path: Path, images: np.ndarray, has_axis: bool) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = (image[None] if has_axis else image for image in images)
    return np.stack([session.run(None, {"image": image})[0] for image in given])


@pytest.mark.parametrize(
    "form", [{}, {"turned": True}, {"open_sizes": True}, {"opset": 11}], ids=["", "turned", "open", "old"]
)
def test_such_a_network_is_exported_allocated_and_evaluated(form: dict, tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    onnx.save(network(**form), source)
    images = IMAGES.transpose(0, 2, 3, 1) if form.get("turned") else IMAGES
    if not form.get("open_sizes"):
        assert mpq_onnx.inspect(source).macs == 36 * 6 * 27 + 6 * 5
    data = {"image": np.ascontiguousarray(images)}
    result = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    assert any("takes one image" in note for note in result.notes)
    exact, found = answers(source, images, False), answers(result.model_path, images, True)
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 30
    evaluated = mpq_onnx.evaluate(result.model_path, data, baseline=source)
    same = (exact.argmax(-1) == found.argmax(-1)).mean()
    assert {row["metric"]: row["value"] for row in evaluated.table}["agreement"] == pytest.approx(same)


def renamed(model: onnx.ModelProto, first: int | str) -> onnx.ModelProto:
    dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    dimension.Clear()
    if isinstance(first, str):
        dimension.dim_param = first
    else:
        dimension.dim_value = first
    return model


def test_what_has_an_axis_of_examples_keeps_it() -> None:
    assert has_whole_images(network())
    assert not has_whole_images(renamed(network(), "batch"))
    assert not has_whole_images(renamed(network(), 4))  # not what is convolved
    given = network()
    given.graph.output.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [3, 8, 8]))
    assert not has_whole_images(given)
    read = network()
    read.graph.node.append(helper.make_node("ReduceMean", ["image"], ["m"], "elsewhere"))
    assert not has_whole_images(read)


def test_hand_off_and_noise_take_it_too(tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    onnx.save(network(), source)
    handed = mpq_onnx.handoff(source, tmp_path / "json", to="json", data={"image": IMAGES})
    assert handed.golden_examples
    noisy = mpq_onnx.allocate_energy(
        source, {"image": IMAGES}, tmp_path / "noisy", energy_per_mac=100,
        options=mpq_onnx.EnergyOptions(("shot",), effort="quick", repeats=1),
    )  # fmt: skip
    assert noisy.noise_check.onnxruntime_sqnr == pytest.approx(noisy.noise_check.mirror_sqnr, abs=1.5)
