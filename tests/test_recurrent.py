"""Recurrent layers in the mirror: onnxruntime is the judge, over directions, gates, lengths and omitted tensors."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from conftest import make_model
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.ops import OP_TABLE
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runs.exporting import export

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
ONE_PARAMETER, TWO_PARAMETERS = (
    ("Elu", "LeakyRelu", "ThresholdedRelu"),
    ("Affine", "HardSigmoid", "ScaledTanh"),
)
PLAIN = ("Tanh", "Sigmoid", "Relu", "Softsign", "Softplus")


@st.composite
def recurrent_models(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One layer of any kind that onnxruntime runs, and inputs for it."""
    op = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = 1 + (direction == "bidirectional")
    time, batch, width, hidden = (draw(st.integers(1, 5)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    gates = GATES[op]
    tensors = {"w": normal(count, gates * hidden, width), "r": normal(count, gates * hidden, hidden)}
    feeds = {"x": normal(time, batch, width)}
    optional: dict[str, np.ndarray] = {
        "b": normal(count, 2 * gates * hidden),
        "lengths": rng.integers(1, time + 1, batch).astype(np.int32),
        "h": normal(count, batch, hidden),
    }
    if op == "LSTM":
        optional |= {"c": normal(count, batch, hidden), "p": normal(count, 3 * hidden)}
    chosen = {name: array for name, array in optional.items() if draw(st.booleans())}
    inputs = ["x", "w", "r", *(name if name in chosen else "" for name in optional)]
    tensors |= chosen
    attributes: dict[str, object] = {"hidden_size": hidden, "direction": direction}
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.3, 1.0, 3.0]))
    if op == "LSTM" and draw(st.booleans()):
        attributes["input_forget"] = 1
    if op == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        names = st.sampled_from(PLAIN + ONE_PARAMETER + TWO_PARAMETERS)
        attributes["activations"] = [draw(names) for _ in range(FUNCTIONS[op] * count)]
        takers = ONE_PARAMETER + TWO_PARAMETERS
        attributes["activation_alpha"] = [
            draw(st.sampled_from([0.1, 0.3, 0.8])) for name in attributes["activations"] if name in takers
        ] or None
        attributes["activation_beta"] = [
            draw(st.sampled_from([0.2, 0.6])) for name in attributes["activations"] if name in TWO_PARAMETERS
        ] or None
    results = ["y", "y_h", "y_c"][: 3 if op == "LSTM" else 2]
    kept = draw(st.lists(st.sampled_from(results), min_size=1, unique=True))
    node = helper.make_node(
        op, inputs, [name if name in kept else "" for name in results], op.lower(),
        **{key: value for key, value in attributes.items() if value is not None},
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [time, batch, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sorted(kept)],
        [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), feeds


def by_onnxruntime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


@settings(deadline=None, max_examples=150)
@given(recurrent_models())
def test_mirror_computes_what_onnxruntime_does(case: tuple[onnx.ModelProto, dict[str, np.ndarray]]) -> None:
    model, feeds = case
    mirror = build_mirror(ir.from_proto(model))
    with torch.no_grad():
        found = mirror.run(feeds, torch.device("cpu"))
    expected = by_onnxruntime(model, feeds)
    # Gates without a limit (Affine, Relu) may grow from time to time until float32 says nothing.
    assume(all(np.abs(wanted).max() < 1e4 for wanted in expected))
    for result, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", sorted(GATES))
def test_gradients_are_those_of_the_function(op: str) -> None:
    """Against finite differences, through time, both directions, with lengths."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    width, hidden, gates = 3, 2, GATES[op]
    weights = (
        normal(2, gates * hidden, width),
        normal(2, gates * hidden, hidden),
        normal(2, 2 * gates * hidden),
    )
    lengths = torch.tensor([4, 2])

    def layer(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return OP_TABLE[op](*tensors, lengths, direction="bidirectional", hidden_size=hidden)

    assert torch.autograd.gradcheck(layer, (normal(4, 2, width), *weights))


def batch_first_layer(op: str) -> onnx.ModelProto:
    """A layer with a state from outside; its sequence and its last state are read."""
    rng = np.random.default_rng(3)
    tensors = {
        "w": rng.standard_normal((1, 4 * GATES[op], 3)).astype(np.float32),
        "r": rng.standard_normal((1, 4 * GATES[op], 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node(op, ["x", "w", "r", "", "", "h"], ["y", "y_h"], "layer", hidden_size=4, layout=1),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n", 5, 3]), ("h", TensorProto.FLOAT, ["n", 1, 4])]
    return make_model(nodes, inputs, [("z", ["n", 5, 1, 4]), ("y_h", ["n", 1, 4])], tensors)


@pytest.mark.parametrize("op", sorted(GATES))
def test_layers_with_the_batch_first_become_layers_with_time_first(op: str) -> None:
    """onnxruntime runs no others; the mirror, which ONNX's node tests judge, says what is right."""
    source = batch_first_layer(op)
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((2, 5, 3)).astype(np.float32),
        "h": rng.standard_normal((2, 1, 4)).astype(np.float32),
    }
    expected = build_mirror(ir.from_proto(source)).run(feeds, torch.device("cpu"))
    found = by_onnxruntime(ir.to_proto(canonicalize(ir.from_proto(source))), feeds)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_export_of_a_layer_that_onnxruntime_cannot_run(tmp_path: Path) -> None:
    onnx.save(batch_first_layer("GRU"), tmp_path / "source.onnx")
    result = export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    assert result.largest_difference < 1e-5
    (gru,) = [node for node in onnx.load(tmp_path / "float.onnx").graph.node if node.op_type == "GRU"]
    assert "layout" not in {attribute.name for attribute in gru.attribute}
