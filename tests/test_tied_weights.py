"""A matrix that is read as it is and transposed is one stored tensor, however the file writes the product."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runtime.session import Runner

RNG = np.random.default_rng(5)
ROWS, WIDTH, TIMES = 40, 16, 6


def tied(form: str, times: int | str = TIMES) -> onnx.ModelProto:
    """Embedding, a hidden layer and a classifier that reads the table again."""
    tensors = {
        "table": RNG.standard_normal((ROWS, WIDTH)).astype(np.float32),
        "w": (RNG.standard_normal((WIDTH, WIDTH)) / 4).astype(np.float32),
        "bias": RNG.standard_normal(ROWS).astype(np.float32),
    }
    nodes = [helper.make_node("Gather", ["table", "ids"], ["e"], "embedding")]
    last = "e"
    if form == "rows":
        nodes.append(helper.make_node("ReduceMean", ["e"], ["m"], "mean", axes=[1], keepdims=0))
        last = "m"
    nodes += [
        helper.make_node("MatMul", [last, "w"], ["h"], "hidden"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
    ]
    if form == "left":  # E h^T
        nodes += [
            helper.make_node("Transpose", ["r"], ["rt"], "turn", perm=[0, 2, 1]),
            helper.make_node("MatMul", ["table", "rt"], ["y"], "classifier"),
        ]
    else:
        if form == "copy":
            tensors["t"] = tensors["table"].T.copy()
        nodes += [
            helper.make_node("Transpose", ["table"], ["t"], "turn", perm=[1, 0]),
            helper.make_node("MatMul", ["r", "t"], ["y" if form == "no bias" else "p"], "classifier"),
        ]
        if form != "no bias":
            nodes.append(helper.make_node("Add", ["p", "bias"], ["y"], "add"))
    if form == "no bias" or form == "left":
        del tensors["bias"]
    if form == "copy":
        nodes = [node for node in nodes if node.name != "turn"]
    if form == "float16":
        tensors["table"] = tensors["table"].astype(np.float16)
        nodes[0].output[0], turn = "eh", next(node for node in nodes if node.name == "turn")
        turn.output[0] = "th"
        nodes.insert(1, helper.make_node("Cast", ["eh"], ["e"], "widen_rows", to=TensorProto.FLOAT))
        nodes.insert(
            nodes.index(turn) + 1, helper.make_node("Cast", ["th"], ["t"], "widen", to=TensorProto.FLOAT)
        )
    rank = 2 if form == "rows" else 3
    model = make_model(nodes, [("ids", TensorProto.INT64, ["n", times])], [("y", [None] * rank)], tensors)
    return onnx.shape_inference.infer_shapes(model)


FORMS = [
    ("rows", TIMES), ("tokens", TIMES), ("no bias", TIMES), ("tokens", "times"), ("left", TIMES), ("float16", TIMES),
    ("copy", TIMES),
]  # fmt: skip


@pytest.mark.parametrize(("form", "times"), FORMS)
def test_the_canonical_form_stores_it_once_and_computes_the_same(form: str, times: int | str) -> None:
    model = tied(form, times)
    canonical = canonicalize(ir.from_proto(model))
    stored = [
        value for value in canonical.graph.initializers.values() if value.const_value.size == ROWS * WIDTH
    ]
    assert [value.name for value in stored] == ["table"]
    feeds = {"ids": RNG.integers(0, ROWS, (3, TIMES))}
    (wanted,) = Runner(ir.from_proto(model), "cpu").run(feeds)
    for each in (canonical, canonicalize(ir.from_proto(ir.to_proto(canonical)))):
        assert [node.name for node in each.graph] == [node.name for node in canonical.graph]
        np.testing.assert_allclose(Runner(each, "cpu").run(feeds)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "times"), [("tokens", TIMES), ("tokens", "times"), ("left", TIMES), ("copy", TIMES)]
)
def test_it_is_quantized_and_counted_once(form: str, times: int | str, tmp_path: Path) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / "ids.npz"
    onnx.save(tied(form, times), path)
    np.savez(data, ids=RNG.integers(0, ROWS, (64, TIMES)))
    result = mpq_onnx.allocate(
        path,
        f"npz:{data}",
        tmp_path / "out",
        weight_bits=8,
        activation_bits=8,
        options=AllocateOptions(method="uniform", rounding="nearest"),
    )
    allocation = result.chosen.allocation
    assert sum(node.weight_elements for node in allocation.nodes) == ROWS * WIDTH + WIDTH * WIDTH
    assert "classifier" in [node.node for node in allocation.nodes]
    assert sum(node.macs for node in allocation.nodes) == TIMES * (ROWS * WIDTH + WIDTH * WIDTH)
    graph = onnx.load(result.model_path).graph
    assert sum(sorted(each.dims) == [WIDTH, ROWS] for each in graph.initializer) == 1
    assert min(result.mirror_check.optimized_sqnr, result.mirror_check.unoptimized_sqnr) > 45
    assert result.chosen.evaluation.comparison is not None
    assert result.chosen.evaluation.comparison.output_sqnr > 28


def crossed(form: str) -> tuple[onnx.ModelProto, int]:
    """One weight that two layers read along different axes, square so that no length tells them apart; its elements."""
    steep = (1 + np.arange(WIDTH) % 4).astype(np.float32)
    tensors = {"w": (RNG.standard_normal((WIDTH, WIDTH)) * steep).astype(np.float32) / 16}
    shape: list = ["n", WIDTH]
    first = helper.make_node("MatMul", ["x", "w"], ["h"], "first")
    turn = helper.make_node("Transpose", ["w"], ["t"], "turn", perm=[1, 0])
    last = helper.make_node("MatMul", ["r", "t"], ["y"], "last")
    if form == "left of both":
        shape = ["n", WIDTH, 5]
        first = helper.make_node("MatMul", ["w", "x"], ["h"], "first")
        last = helper.make_node("MatMul", ["t", "r"], ["y"], "last")
    elif form == "either side":
        shape = ["n", WIDTH, WIDTH]
        first = helper.make_node("MatMul", ["w", "x"], ["h"], "first")
        last = helper.make_node("MatMul", ["r", "w"], ["y"], "last")
    elif form == "convolutions":
        shape = ["n", 4, 6, 6]
        tensors["w"] = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32) * steep[:4, None, None]
        first = helper.make_node("ConvTranspose", ["x", "w"], ["h"], "first")
        last = helper.make_node("Conv", ["r", "w"], ["y"], "last")
    nodes = [first, helper.make_node("Relu", ["h"], ["r"], "relu"), turn, last]
    if "t" not in last.input:
        nodes.remove(turn)
    model = make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", [None] * len(shape))], tensors)
    return onnx.shape_inference.infer_shapes(model), tensors["w"].size


def test_a_weight_on_the_left_of_both_products_is_stored_once() -> None:
    model, elements = crossed("left of both")
    canonical = canonicalize(ir.from_proto(model))
    assert [
        value.name for value in canonical.graph.initializers.values() if value.const_value.size == elements
    ] == ["w"]
    feeds = {"x": RNG.standard_normal((3, WIDTH, 5)).astype(np.float32)}
    (wanted,) = Runner(ir.from_proto(model), "cpu").run(feeds)
    np.testing.assert_allclose(Runner(canonical, "cpu").run(feeds)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["autoencoder", "either side", "convolutions"])
def test_scales_along_another_axis_mislead_no_integer_kernel(form: str, tmp_path: Path) -> None:
    """onnxruntime takes the scales of a weight for those of the reader's own channels, whatever their axis."""
    model, elements = crossed(form)
    onnx.save(model, tmp_path / "model.onnx")
    options = AllocateOptions(
        method="uniform", rounding="nearest", bias_correction=False, granularity="channel"
    )
    result = mpq_onnx.allocate(
        tmp_path / "model.onnx",
        "random?count=200",
        tmp_path / "out",
        weight_bits=8,
        activation_bits=8,
        options=options,
    )
    assert sum(node.weight_elements for node in result.chosen.allocation.nodes) == elements
    stored = onnx.load(result.model_path).graph.initializer
    assert sum(int(np.prod(each.dims)) == elements for each in stored) == 1
    assert min(result.mirror_check.optimized_sqnr, result.mirror_check.unoptimized_sqnr) > 45
    assert result.chosen.evaluation.comparison is not None
    assert result.chosen.evaluation.comparison.output_sqnr > 20
