"""The mirror against onnxruntime on whole networks, and gradients through it."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from conftest import make_cnn, make_encoder, make_model
from onnx import TensorProto, helper

from mpq_onnx.errors import ModelError
from mpq_onnx.mirror import build_mirror
from mpq_onnx.passes.canonicalize import canonicalize

MODELS = {
    "cnn": (
        make_cnn,
        {"images": np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(np.float32)},
    ),
    "encoder": (make_encoder, {"tokens": np.random.default_rng(0).integers(0, 20, (4, 5))}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("canonical", [False, True])
def test_same_outputs_as_onnxruntime(name: str, canonical: bool) -> None:
    make, feeds = MODELS[name]
    proto = make()
    model = ir.from_proto(proto)
    mirror = build_mirror(canonicalize(model) if canonical else model)
    with torch.no_grad():
        (found,) = mirror.run(feeds, torch.device("cpu"))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found.numpy(), session.run(None, feeds)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_gets_a_gradient(name: str) -> None:
    make, feeds = MODELS[name]
    mirror = build_mirror(canonicalize(ir.from_proto(make())))
    (output,) = mirror.run(feeds, torch.device("cpu"))
    output.square().sum().backward()
    unreached = [key for key, p in mirror.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert unreached == []


def test_node_names_are_kept() -> None:
    model = canonicalize(ir.from_proto(make_cnn()))
    mirror = build_mirror(model)
    mirrored = [node.meta["onnx_name"] for node in mirror.module.graph.nodes if "onnx_name" in node.meta]
    assert mirrored == [node.name for node in model.graph]


def test_an_unknown_op_names_itself_its_node_and_the_file() -> None:
    model = make_model(
        [helper.make_node("Bernoulli", ["x"], ["y"], "coins")],
        [("x", TensorProto.FLOAT, ["n", 3, 3])],
        [("y", ["n", 3, 3])],
        {},
    )
    onnx.checker.check_model(model)
    with pytest.raises(ModelError) as caught:
        build_mirror(ir.from_proto(model), "matrix.onnx")
    assert all(part in str(caught.value) for part in ("Bernoulli", "coins", "matrix.onnx"))
    assert "\n" not in str(caught.value)
