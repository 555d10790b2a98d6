"""A batch size that an exporter wrote into the graph is opened; onnxruntime on the source, batch by batch, is the judge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper

from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.runs.exporting import export

TOKENS, WIDTH = 6, 8
Graph = tuple[list[onnx.NodeProto], list[int], dict[str, np.ndarray]]


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def run(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def node(op_type: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [output], f"n_{output}", **attributes)


def rows(batch: int) -> Graph:
    """Reshape of the input itself to rows, a matrix product, and back."""
    nodes = [
        node("Reshape", ["x", "rows"], "r"),
        node("MatMul", ["r", "w"], "m"),
        node("Reshape", ["m", "back"], "y"),
    ]
    constants = {"rows": integers(batch * TOKENS, WIDTH), "back": integers(batch, TOKENS, 4)}
    return nodes, [batch, TOKENS, 4], constants


def minus_one_inside(batch: int) -> Graph:
    nodes = [node("Reshape", ["x", "heads"], "r"), node("Relu", ["r"], "y")]
    return nodes, [batch, 2 * TOKENS, 4], {"heads": integers(batch, -1, 4)}


def learned_token(batch: int) -> Graph:
    """A class token of one row, repeated for the batch, joined along the tokens."""
    nodes = [
        node("Expand", ["token", "shape"], "t"),
        node("Concat", ["t", "x"], "j", axis=1),
        node("MatMul", ["j", "w"], "y"),
    ]
    token = np.linspace(-1, 1, WIDTH, dtype=np.float32).reshape(1, 1, WIDTH)
    return nodes, [batch, TOKENS + 1, 4], {"token": token, "shape": integers(batch, 1, WIDTH)}


def joined_constant(batch: int) -> Graph:
    nodes = [node("Concat", ["x", "token"], "y", axis=1)]
    return nodes, [batch, TOKENS + 1, WIDTH], {"token": np.ones((batch, 1, WIDTH), np.float32)}


def whole_slice(batch: int) -> Graph:
    nodes = [node("Slice", ["x", "from", "to", "axes"], "y")]
    constants = {"from": integers(0, 1), "to": integers(batch, 4), "axes": integers(0, 1)}
    return nodes, [batch, 3, WIDTH], constants


def old_softmax(batch: int) -> Graph:
    return [node("Softmax", ["x"], "y", axis=1)], [batch, TOKENS, WIDTH], {}


def attention_heads(batch: int) -> Graph:
    """Time before batch, heads merged with the batch, as torch's multi-head attention has it."""
    nodes = [
        node("Transpose", ["x"], "t", perm=[1, 0, 2]),
        node("Reshape", ["t", "split"], "s"),
        node("Transpose", ["s"], "h", perm=[1, 0, 2]),
        node("Transpose", ["h"], "k", perm=[0, 2, 1]),
        node("MatMul", ["h", "k"], "a"),
        node("MatMul", ["a", "h"], "o"),
        node("Transpose", ["o"], "b", perm=[1, 0, 2]),
        node("Reshape", ["b", "join"], "j"),
        node("Transpose", ["j"], "y", perm=[1, 0, 2]),
    ]
    constants = {"split": integers(TOKENS, 2 * batch, WIDTH // 2), "join": integers(TOKENS, batch, WIDTH)}
    return nodes, [batch, TOKENS, WIDTH], constants


def shape_with_the_batch_in_it(batch: int) -> Graph:
    """Reshape to a Concat of the batch size and what Shape finds."""
    nodes = [
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "last"], "g", axis=0),
        node("Concat", ["first", "rest", "g"], "c", axis=0),
        node("Reshape", ["x", "c"], "y"),
    ]
    constants = {"last": integers(2), "first": integers(batch), "rest": integers(TOKENS)}
    return nodes, [batch, TOKENS, WIDTH], constants


def recurrent_states(batch: int) -> Graph:
    """A GRU with first states of zeros for the batch."""
    rng = np.random.default_rng(1)
    nodes = [
        node("Transpose", ["x"], "t", perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "W", "R", "", "", "h0"], ["g"], "gru", hidden_size=3),
        node("Squeeze", ["g", "one"], "q"),
        node("Transpose", ["q"], "y", perm=[1, 0, 2]),
    ]
    constants = {
        "W": weights(rng, 1, 9, WIDTH),
        "R": weights(rng, 1, 9, 3),
        "h0": np.zeros((1, batch, 3), np.float32),
        "one": integers(1),
    }
    return nodes, [batch, TOKENS, 3], constants


def tokens_before_the_batch(batch: int) -> Graph:
    """Attention as torch.nn.TransformerEncoder exports it: tokens first, merged with the batch, the batch merged with heads."""
    heads, length = 2, WIDTH // 2
    constants = {
        "wi": weights(np.random.default_rng(1), WIDTH, WIDTH), "merged": integers(TOKENS * batch, WIDTH),
        "apart": integers(TOKENS, batch, WIDTH), "by_head": integers(TOKENS, heads * batch, length),
        "parted": integers(TOKENS, batch, 4),
    }  # fmt: skip
    nodes = [
        node("Transpose", ["x"], "first", perm=[1, 0, 2]),
        node("Reshape", ["first", "merged"], "rows"),
        node("MatMul", ["rows", "wi"], "projected"),
        node("Reshape", ["projected", "apart"], "tokens"),
        node("Reshape", ["tokens", "by_head"], "heads"),
        node("Transpose", ["heads"], "q", perm=[1, 0, 2]),
        node("Transpose", ["heads"], "k", perm=[1, 2, 0]),
        node("MatMul", ["q", "k"], "scores"),
        node("Softmax", ["scores"], "attention", axis=2),
        node("MatMul", ["attention", "q"], "mixed"),
        node("Transpose", ["mixed"], "joined", perm=[1, 0, 2]),
        node("Reshape", ["joined", "merged"], "out"),
        node("MatMul", ["out", "w"], "z"),
        node("Reshape", ["z", "parted"], "last"),
        node("Transpose", ["last"], "y", perm=[1, 0, 2]),
    ]
    return nodes, [batch, TOKENS, 4], constants


def save(make: Callable[[int], Graph], batch: int, path: Path, opset: int = 13) -> None:
    nodes, shape, constants = make(batch)
    constants = {"w": weights(np.random.default_rng(0), WIDTH, 4), **constants}
    read = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in constants.items() if name in read}
    inputs = [("x", TensorProto.FLOAT, [batch, TOKENS, WIDTH])]
    onnx.save(make_model(nodes, inputs, [("y", shape)], constants, opset), path)


OPENED = [
    (rows, 13), (minus_one_inside, 13), (learned_token, 13), (joined_constant, 13), (whole_slice, 13), (old_softmax, 11),
    (attention_heads, 13), (shape_with_the_batch_in_it, 13), (recurrent_states, 14),
    (tokens_before_the_batch, 13),
]  # fmt: skip


@pytest.mark.parametrize("make, opset", OPENED, ids=[make.__name__ for make, _ in OPENED])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_written_batch_is_opened(
    make: Callable[[int], Graph], opset: int, batch: int, tmp_path: Path
) -> None:
    if make is joined_constant and batch > 1:
        pytest.skip("rows of a constant belong to one example each")
    source, path = tmp_path / "source.onnx", tmp_path / "model.onnx"
    save(make, batch, source, opset)
    result = export(str(source), path)
    assert result.fixed_batch is None, result.notes
    parts = np.random.default_rng(2).standard_normal((3, batch, TOKENS, WIDTH)).astype(np.float32)
    wanted = np.concatenate([run(source, {"x": part})[0] for part in parts])
    (found,) = run(path, {"x": parts.reshape(-1, TOKENS, WIDTH)})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    (single,) = run(path, {"x": parts[0][:1]})
    np.testing.assert_allclose(single, wanted[:1], rtol=1e-4, atol=1e-5)


def test_the_batch_that_a_squeeze_takes_away_stays_and_is_said(tmp_path: Path) -> None:
    nodes = [node("Squeeze", ["x", "axes"], "s"), node("MatMul", ["s", "w"], "y")]
    constants = {"axes": integers(0), "w": weights(np.random.default_rng(0), WIDTH, 4)}
    inputs = [("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])]
    onnx.save(make_model(nodes, inputs, [("y", [TOKENS, 4])], constants), tmp_path / "source.onnx")
    result = export(str(tmp_path / "source.onnx"), tmp_path / "model.onnx")
    assert result.fixed_batch == 1
    assert any("n_s" in note and "batch" in note for note in result.notes)


def test_a_reshape_that_holds_the_batch_for_good_is_named_with_the_remedy(tmp_path: Path) -> None:
    """The mean over what a flat tensor is cut into: rows of all examples would be mixed."""
    nodes = [
        node("Transpose", ["x"], "first", perm=[1, 0, 2]),
        node("Reshape", ["first", "flat"], "line"),
        node("Reshape", ["line", "cut"], "rows"),
        node("MatMul", ["rows", "w"], "z"),
        node("ReduceMean", ["z"], "y", axes=[0]),
    ]
    constants = {
        "flat": integers(TOKENS * WIDTH), "cut": integers(TOKENS, WIDTH), "w": weights(np.random.default_rng(0), WIDTH, 4)
    }  # fmt: skip
    inputs = [("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])]
    onnx.save(make_model(nodes, inputs, [("y", [1, 4])], constants), tmp_path / "source.onnx")
    result = export(tmp_path / "source.onnx", tmp_path / "model.onnx")
    (note,) = result.notes
    assert result.fixed_batch == 1 and "node n_rows (Reshape to [6, 8])" in note
    assert "dynamic_axes={'x': {0: 'batch'}}" in note and "onnxruntime" not in note


@pytest.mark.parametrize("written", [-1, 0, None, "n"])
def test_an_open_batch_however_it_is_written(written: int | str | None, tmp_path: Path) -> None:
    source, path = tmp_path / "source.onnx", tmp_path / "model.onnx"
    inputs = [("x", TensorProto.FLOAT, [None, TOKENS, WIDTH])]
    constants = {"w": weights(np.random.default_rng(0), WIDTH, 4)}
    model = make_model([node("MatMul", ["x", "w"], "y")], inputs, [("y", [None, TOKENS, 4])], constants)
    if isinstance(written, int):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = written
    elif written is not None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = written
    onnx.save(model, source)
    assert export(str(source), path).fixed_batch is None
    assert model_inputs(load_model(path))[0].shape == (None, TOKENS, WIDTH)
    assert run(path, {"x": np.ones((3, TOKENS, WIDTH), np.float32)})[0].shape == (3, TOKENS, 4)


def test_a_name_that_different_lengths_share_is_not_believed(tmp_path: Path) -> None:
    """Two outputs of other lengths, two axes of one input and an inner tensor, all called the same."""
    nodes = [
        node("MaxPool", ["x"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Relu", ["x"], "y"),
        node("Sigmoid", ["p"], "z"),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n", 3, "dim", "dim"])]
    outputs = [("y", ["n", 3, "dim", "dim"]), ("z", ["n", 3, "dim", "dim"])]
    model = make_model(nodes, inputs, outputs, {})
    model.graph.value_info.append(
        helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 3, "dim", "dim"])
    )
    onnx.save(model, tmp_path / "source.onnx")
    export(str(tmp_path / "source.onnx"), tmp_path / "model.onnx")
    for value in onnx.load(tmp_path / "model.onnx").graph.output:
        names = [axis.dim_param for axis in value.type.tensor_type.shape.dim[2:]]
        assert names[0] != names[1]
    picture = np.random.default_rng(0).standard_normal((2, 3, 12, 18)).astype(np.float32)
    found = run(tmp_path / "model.onnx", {"x": picture})
    assert [each.shape for each in found] == [(2, 3, 12, 18), (2, 3, 6, 9)]
