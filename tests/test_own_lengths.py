"""Targets of Reshape and Expand that hang on lengths: constants where what is open stays in place; the same for any batch."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from conftest import make_model
from onnx import TensorProto, helper

from mpq_onnx.passes.canonicalize import canonicalize


def put_together(form: str) -> onnx.ModelProto:
    """x [n, 6, 8], and y [m, 6, 8] whose batch has another name."""
    constants = {"rest": -1, "heads": 2, "size": 4, "tokens": 6, "width": 8}
    shape = {
        "own": ["n", "tokens", "heads", "rest"],
        "two open": ["rest", "n", "heads", "size"],
        "another's": ["rest", "tokens", "heads", "size"],
        "moved": ["tokens", "n", "heads", "rest"],
        "expanded": ["heads", "n", "tokens", "width"],
    }[form]
    source = "other" if form == "another's" else "x"
    op_type = "Expand" if form == "expanded" else "Reshape"
    nodes = [
        helper.make_node("Shape", [source], ["n"], "lengths", start=0, end=1),
        helper.make_node("Concat", shape, ["target"], "target", axis=0),
        helper.make_node(op_type, ["x", "target"], ["r"], "view"),
        helper.make_node("Relu", ["r"], ["y"], "relu"),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n", 6, 8]), ("other", TensorProto.FLOAT, ["m", 6, 8])]
    used = {name: np.array([length]) for name, length in constants.items() if name in shape}
    return make_model(nodes, inputs, [("y", ["a", "b", "c", "d"])], used)


@pytest.mark.parametrize(
    ("form", "target"),
    [
        ("own", [0, 6, 2, -1]),
        ("moved", None),
        ("two open", None),
        ("expanded", [2, 1, 6, 8]),
        ("another's", [-1, 6, 2, 4]),
    ],
)
def test_a_target_is_constant_where_what_is_open_stays_in_place(form: str, target: list[int] | None) -> None:
    source = put_together(form)
    canonical = ir.to_proto(canonicalize(ir.from_proto(source)))
    rng = np.random.default_rng(0)
    for batch in (1, 2, 5):
        feeds = {name: rng.standard_normal((batch, 6, 8)).astype(np.float32) for name in ("x", "other")}
        one, other = (
            onnxruntime.InferenceSession(each.SerializeToString()).run(
                None, {entry.name: feeds[entry.name] for entry in each.graph.input}
            )[0]
            for each in (source, canonical)
        )
        np.testing.assert_array_equal(one, other)
    view = next(node for node in canonical.graph.node if node.op_type in ("Reshape", "Expand"))
    known = {each.name: onnx.numpy_helper.to_array(each).tolist() for each in canonical.graph.initializer}
    assert known.get(view.input[1]) == target
