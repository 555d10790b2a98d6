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
def test_a_stack_of_one_is_a_matrix_where_shapes_stay(stack: int, axes: int) -> None:
    """[1, 5, 6] or [1, 1, 5, 6] times data of so many axes."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((*(1,) * stack, 5, 6)).astype(np.float32)
    shape = (3, *(2,) * (axes - 2), 5)
    x = rng.standard_normal(shape).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    wanted = (x @ w).shape
    given_shape, found_shape = ["n", *shape[1:]], [*wanted]
    model = make_model([node], [("x", TensorProto.FLOAT, given_shape)], [("y", found_shape)], {"w": w})
    if axes >= stack + 2:
        found_shape[0] = "n"
        model = make_model([node], [("x", TensorProto.FLOAT, given_shape)], [("y", found_shape)], {"w": w})
    canonical = canonicalize(ir.from_proto(model))
    found = run(model_bytes(canonical), x)
    np.testing.assert_allclose(found, x @ w, rtol=1e-4, atol=1e-5)
    assert found.shape == wanted
    (product,) = (each for each in canonical.graph if each.op_type == "MatMul")
    assert len(product.inputs[1].shape) == (2 if axes >= stack + 2 else stack + 2)
