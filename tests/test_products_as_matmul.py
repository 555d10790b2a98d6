"""Products written as Einsum or with a stack of one matrix are MatMul in canonical form, and compute what they did."""

import itertools

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.passes.canonicalize import canonicalize

SIZES = {"n": 3, "t": 4, "c": 5, "d": 2, "o": 6, "h": 3}


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def einsum(data: str, weight: str, result: str, weight_first: bool = False):
    """The model, and inputs for it."""
    rng = np.random.default_rng(0)
    terms, inputs = (weight, data), ["w", "x"]
    if not weight_first:
        terms, inputs = terms[::-1], inputs[::-1]
    node = helper.make_node("Einsum", inputs, ["y"], "product", equation=f"{','.join(terms)}->{result}")
    shape = lambda labels: ["n" if label == "n" else SIZES[label] for label in labels]  # noqa: E731
    w = rng.standard_normal([SIZES[label] for label in weight]).astype(np.float32)
    x = rng.standard_normal([SIZES[label] for label in data]).astype(np.float32)
    return make_model([node], [("x", TensorProto.FLOAT, shape(data))], [("y", shape(result))], {"w": w}), x


@settings(deadline=None, max_examples=40)
@given(
    data=st.permutations("ntcd"),
    weight=st.permutations("cdoh"),
    result=st.permutations("ntoh"),
    first=st.booleans(),
)
def test_an_einsum_of_two_matrices_is_a_matmul(
    data: list[str], weight: list[str], result: list[str], first: bool
) -> None:
    model, x = einsum("".join(data), "".join(weight), "".join(result), first)
    canonical = canonicalize(ir.from_proto(model))
    products = [node for node in canonical.graph if node.op_type in ("MatMul", "Einsum")]
    assert [(node.op_type, node.name) for node in products] == [("MatMul", "product")]
    np.testing.assert_allclose(
        run(model_bytes(canonical), x), run(model.SerializeToString(), x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("data", "weight", "result"),
    [("ntc", "tco", "nto"), ("ntc", "to", "nco"), ("nc", "co", "n"), ("nt", "c", "ntc")],
)
def test_what_is_no_product_of_two_matrices_computes_the_same(data: str, weight: str, result: str) -> None:
    model, x = einsum(data, weight, result)
    canonical = canonicalize(ir.from_proto(model))
    np.testing.assert_allclose(
        run(model_bytes(canonical), x), run(model.SerializeToString(), x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("stack", "axes"), itertools.product([1, 2], [2, 3, 4]))
def test_a_stack_of_one_is_a_matrix(stack: int, axes: int) -> None:
    """[1, 5, 6] or [1, 1, 5, 6] times data of so many axes."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((*(1,) * stack, 5, 6)).astype(np.float32)
    x = rng.standard_normal((3, *(2,) * (axes - 2), 5)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    wanted = x @ w
    lengths = ["n" if size == 3 else size for size in wanted.shape]
    model = make_model([node], [("x", TensorProto.FLOAT, ["n", *x.shape[1:]])], [("y", lengths)], {"w": w})
    canonical = canonicalize(ir.from_proto(model))
    found = run(model_bytes(canonical), x)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert found.shape == wanted.shape
    (product,) = (each for each in canonical.graph if each.op_type == "MatMul")
    assert product.inputs[1].const_value.shape.numpy() == (5, 6)


def test_a_matrix_of_zeros_is_not_added() -> None:
    """A bias of zeros is, as it may be corrected."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        helper.make_node("Add", ["h", "zeros"], ["m"], "mask"),
        helper.make_node("Add", ["m", "bias"], ["y"], "bias"),
    ]
    tensors = {
        "w": np.ones((5, 6), np.float32),
        "zeros": np.zeros((4, 6), np.float32),
        "bias": np.zeros(6, np.float32),
    }
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 4, 5])], [("y", ["n", 4, 6])], tensors)
    canonical = canonicalize(ir.from_proto(model))
    assert [node.name for node in canonical.graph] == ["product", "bias"]
    x = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(run(model_bytes(canonical), x), run(model.SerializeToString(), x), rtol=1e-6)


@pytest.mark.parametrize("form", ["Einsum", "MatMul", "first"])
def test_a_bias_of_heads_stands_next_to_its_product(form: str) -> None:
    """x [n, 4, 5] by weights [5, 3, 2], and a bias [3, 2]."""
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((5, 3, 2)).astype(np.float32), rng.standard_normal((3, 2)).astype(np.float32)
    tensors = {"w": w, "b": b}
    operands = ["b", "h"] if form == "first" else ["h", "b"]
    if form == "MatMul":
        tensors |= {"w": w.reshape(5, 6), "lengths": np.array([0, 0, 3, 2])}
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["flat"], "product"),
            helper.make_node("Reshape", ["flat", "lengths"], ["h"], "split"),
        ]
    else:
        nodes = [helper.make_node("Einsum", ["x", "w"], ["h"], "product", equation="btd,dhk->bthk")]
    nodes.append(helper.make_node("Add", operands, ["y"], "bias"))
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 4, 5])], [("y", ["n", 4, 3, 2])], tensors)
    canonical = canonicalize(ir.from_proto(model))
    assert [node.op_type for node in canonical.graph] == ["MatMul", "Add", "Reshape"]
    assert canonical.graph.outputs[0].name == "y"
    x = rng.standard_normal((2, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(
        run(model_bytes(canonical), x), run(model.SerializeToString(), x), rtol=1e-4, atol=1e-5
    )
