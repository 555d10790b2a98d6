"""Shared models and data: small, seeded, built with onnx.helper so that nothing of ours makes the input of our tests."""

import gc
import os
import zlib

# The suite runs one process a core; threads inside each would only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def initializer(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """He-scaled normal weights."""
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def pytest_collection_finish() -> None:
    """What was loaded by now stays: going through it takes half a second each time that a stage gives memory back."""
    gc.freeze()


def make_model(nodes, inputs, outputs, initializers, opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [initializer(name, array) for name, array in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def make_cnn(seed: int = 0, opset: int = 13) -> onnx.ModelProto:
    """Conv, BatchNormalization, residual Add, depthwise Conv, MaxPool, average pool, Gemm: 3x12x12 to 6 classes."""
    rng = np.random.default_rng(seed)
    tensors = {
        "stem.weight": weights(rng, 8, 3, 3, 3),
        "bn.scale": rng.uniform(0.5, 1.5, 8).astype(np.float32),
        "bn.bias": rng.standard_normal(8).astype(np.float32) * 0.1,
        "bn.mean": rng.standard_normal(8).astype(np.float32) * 0.1,
        "bn.var": rng.uniform(0.5, 1.5, 8).astype(np.float32),
        "inner.weight": weights(rng, 8, 8, 3, 3),
        "inner.bias": rng.standard_normal(8).astype(np.float32) * 0.1,
        "depthwise.weight": weights(rng, 8, 1, 3, 3),
        "fc.weight": weights(rng, 6, 8) * 3,
        "fc.bias": rng.standard_normal(6).astype(np.float32) * 0.1,
    }
    nodes = [
        helper.make_node("Conv", ["images", "stem.weight"], ["c0"], "stem", pads=[1] * 4),
        helper.make_node(
            "BatchNormalization", ["c0", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b0"], "bn"
        ),
        helper.make_node("Relu", ["b0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "inner.weight", "inner.bias"], ["c1"], "inner", pads=[1] * 4),
        helper.make_node("Add", ["c1", "r0"], ["a1"], "add"),
        helper.make_node("Relu", ["a1"], ["r1"], "relu1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "depthwise.weight"], ["c2"], "depthwise", pads=[1] * 4, group=8),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], "gap"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    return make_model(
        nodes, [("images", TensorProto.FLOAT, ["n", 3, 12, 12])], [("logits", ["n", 6])], tensors, opset
    )


def make_encoder(seed: int = 0) -> onnx.ModelProto:
    """One transformer layer as exporters write it: embedding, attention, LayerNormalization, Gelu, classifier."""
    rng = np.random.default_rng(seed)
    width, heads, vocabulary = 16, 2, 20
    tensors = {
        "table": weights(rng, vocabulary, width),
        "wq": weights(rng, width, width), "wk": weights(rng, width, width), "wv": weights(rng, width, width),
        "bq": rng.standard_normal(width).astype(np.float32), "wo": weights(rng, width, width),
        "gamma": np.ones(width, np.float32), "beta": np.zeros(width, np.float32),
        "w1": weights(rng, width, 32), "w2": weights(rng, 32, width), "wc": weights(rng, width, 3) * 3,
        "split": np.array([0, 0, heads, width // heads], np.int64), "join": np.array([0, 0, width], np.int64),
        "scale": np.array(1 / np.sqrt(width / heads), np.float32), "first": np.array(0, np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"], "embedding"),
        helper.make_node("MatMul", ["e", "wq"], ["q_"], "query"),
        helper.make_node("Add", ["q_", "bq"], ["q"], "query_bias"),
        helper.make_node("MatMul", ["e", "wk"], ["k"], "key"),
        helper.make_node("MatMul", ["e", "wv"], ["v"], "value"),
    ]
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes.append(helper.make_node("Reshape", [name, "split"], [f"{name}_s"], f"{name}_split"))
        nodes.append(helper.make_node("Transpose", [f"{name}_s"], [f"{name}_t"], f"{name}_heads", perm=order))
    nodes += [
        helper.make_node("MatMul", ["q_t", "k_t"], ["scores"], "scores"),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"], "scaling"),
        helper.make_node("Softmax", ["scaled"], ["attention"], "softmax", axis=-1),
        helper.make_node("MatMul", ["attention", "v_t"], ["mixed"], "mix"),
        helper.make_node("Transpose", ["mixed"], ["m_t"], "unheads", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["m_t", "join"], ["m"], "join"),
        helper.make_node("MatMul", ["m", "wo"], ["o"], "projection"),
        helper.make_node("Add", ["o", "e"], ["x"], "residual"),
        helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["n1"], "norm"),
        helper.make_node("MatMul", ["n1", "w1"], ["h"], "up"),
        helper.make_node("Gelu", ["h"], ["a"], "gelu"),
        helper.make_node("MatMul", ["a", "w2"], ["d"], "down"),
        helper.make_node("Add", ["d", "n1"], ["y"], "residual2"),
        helper.make_node("Gather", ["y", "first"], ["cls"], "pooler", axis=1),
        helper.make_node("MatMul", ["cls", "wc"], ["logits"], "classifier"),
    ]
    return make_model(
        nodes, [("tokens", TensorProto.INT64, ["n", 5])], [("logits", ["n", 3])], tensors, opset=20
    )


@pytest.fixture(autouse=True)
def numbers_of_its_own(request: pytest.FixtureRequest) -> None:
    """A test draws the same numbers from its module's RNG whichever tests ran before it."""
    generator = getattr(request.module, "RNG", None)
    if generator is not None:
        seed = zlib.crc32(request.node.nodeid.encode())
        generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state


@pytest.fixture(scope="session", autouse=True)
def equal_times() -> Iterator[None]:
    """Every file is as fast as float: no test depends on how busy the machine is."""
    from mpq_onnx.runtime import timing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "interleaved_milliseconds", lambda runners, feeds: [1.0] * len(runners))
        yield


@pytest.fixture(scope="session")
def shared_cifar10() -> Path:
    folder = SHARED / "cifar10"
    if not folder.is_dir():
        pytest.skip(f"needs {folder} (ResNet-20 and CIFAR-10 images), which is not part of the project")
    return folder


@pytest.fixture(scope="session")
def cnn_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cnn") / "cnn.onnx"
    onnx.save(make_cnn(), path)
    return path


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    onnx.save(make_encoder(), path)
    return path


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path) -> Path:
    """192 blurred random images for the CNN; labels are what the float network answers, every tenth one wrong."""
    import onnxruntime as ort

    rng = np.random.default_rng(1)
    images = rng.standard_normal((192, 3, 12, 12)).astype(np.float32)
    images += rng.standard_normal((192, 3, 1, 1)).astype(np.float32)
    session = ort.InferenceSession(str(cnn_file), providers=["CPUExecutionProvider"])
    labels = session.run(None, {"images": images})[0].argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 6
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=images, labels=labels)
    return path
