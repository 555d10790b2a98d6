"""The fingerprint changes with everything that a model computes by, and with nothing else."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.model_file import load_model, save_model
from mpq_onnx.graph.node_names import complete_names
from mpq_onnx.passes.canonicalize import canonicalize
from tests.conftest import make_cnn, make_encoder, make_model


def make_branching() -> onnx.ModelProto:
    """A branch, a function, a constant tensor in an attribute, two inputs and two outputs."""
    branches = [
        helper.make_graph(
            [helper.make_node("LeakyRelu", ["a"], [f"{name}_out"], f"{name}_node", alpha=alpha)],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.float32([alpha]), f"{name}_unused")],
        )
        for name, alpha in (("then", 0.1), ("else", 0.3))
    ]
    constant = numpy_helper.from_array(np.float32([1, 2, 3]), "value")
    nodes = [
        helper.make_node("Constant", [], ["c"], "constant", value=constant),
        helper.make_node("ReduceSum", ["a"], ["sum"], "sum", keepdims=0),
        helper.make_node("Cast", ["sum"], ["flag"], "flag", to=TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["chosen"], "if", then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Scaled", ["chosen", "b"], ["y"], "call", domain="own", factor=2.0),
        helper.make_node("Sub", ["c", "w"], ["z"], "z"),
    ]
    inputs = [("a", TensorProto.FLOAT, ["n", 3]), ("b", TensorProto.FLOAT, ["n", 3])]
    model = make_model(
        nodes, inputs, [("y", ["n", 3]), ("z", [3])], {"w": np.float32([4, 5, 6]), "v": np.float32([7])}
    )
    function = helper.make_function(
        "own",
        "Scaled",
        ["p", "q"],
        ["r"],
        [
            helper.make_node("Constant", [], ["k"], value_float=0.5),
            helper.make_node("Mul", ["p", "k"], ["s"]),
            helper.make_node("Sub", ["s", "q"], ["r"]),
        ],
        [helper.make_opsetid("", 17)],
        ["factor"],
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def _set(name: str, node: int, **value: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        attributes = model.graph.node[node].attribute
        kept = [attribute for attribute in attributes if attribute.name != name]
        del attributes[:]
        attributes.extend([*kept, helper.make_attribute(name, *value.values())])

    return change


def _swap(field: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        values = getattr(model.graph, field)
        first, second = copy.deepcopy(values[0]), copy.deepcopy(values[1])
        values[0].CopyFrom(second)
        values[1].CopyFrom(first)

    return change


def _retype(model: onnx.ModelProto) -> None:
    """The same bytes as int32."""
    model.graph.initializer[1].data_type = TensorProto.INT32


def _reshape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1, 3]


def _value(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float32([4, 5, 7]), "w"))


def _branch(model: onnx.ModelProto) -> None:
    model.graph.node[3].attribute[0].g.node[0].attribute[0].f = 0.2


def _branch_constant(model: onnx.ModelProto) -> None:
    initializer = model.graph.node[3].attribute[1].g.initializer[0]
    initializer.CopyFrom(numpy_helper.from_array(np.float32([9]), initializer.name))


def _function(model: onnx.ModelProto) -> None:
    model.functions[0].node[0].attribute[0].f = 0.25


def _function_inputs(model: onnx.ModelProto) -> None:
    model.functions[0].input[:] = ["q", "p"]


def _opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def _input_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _input_length(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def _output(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def _operator(model: onnx.ModelProto) -> None:
    model.graph.node[5].op_type = "Add"


def _operands(model: onnx.ModelProto) -> None:
    model.graph.node[5].input[:] = ["w", "c"]


CHANGES = {
    "an int attribute": _set("keepdims", 1, value=1),
    "a new attribute": _set("axes", 1, value=[0]),
    "a float attribute": _set("factor", 4, value=2.5),
    "an attribute's kind": _set("factor", 4, value=2),
    "a tensor attribute": _set("value", 0, value=numpy_helper.from_array(np.float32([1, 2, 4]))),
    "its type": _set("value", 0, value=numpy_helper.from_array(np.float64([1, 2, 3]))),
    "an attribute of a branch": _branch,
    "a constant of a branch": _branch_constant,
    "the order of inputs": _swap("input"),
    "the order of outputs": _swap("output"),
    "fewer outputs": _output,
    "an initializer's type": _retype,
    "its shape": _reshape,
    "its values": _value,
    "a function's body": _function,
    "a function's inputs": _function_inputs,
    "an opset": _opset,
    "an input's type": _input_type,
    "an input's length": _input_length,
    "an operator": _operator,
    "the order of operands": _operands,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_changes_with_what_is_computed(change: Callable[[onnx.ModelProto], None]) -> None:
    model = make_branching()
    before = fingerprint(ir.from_proto(model))
    change(model)
    assert fingerprint(ir.from_proto(model)) != before


@pytest.mark.parametrize("make", [make_cnn, make_encoder])
def test_every_attribute_counts(make: Callable[[], onnx.ModelProto]) -> None:
    model = make()
    original = fingerprint(ir.from_proto(model))
    places = [(node, place) for node in model.graph.node for place in range(len(node.attribute))]
    assert places
    for node, place in places:
        kept = copy.deepcopy(node.attribute[place])
        changed = {
            onnx.AttributeProto.INT: lambda a: setattr(a, "i", a.i + 1),
            onnx.AttributeProto.INTS: lambda a: a.ints.append(1),
            onnx.AttributeProto.FLOAT: lambda a: setattr(a, "f", a.f + 1),
            onnx.AttributeProto.STRING: lambda a: setattr(a, "s", a.s + b"x"),
        }
        changed[kept.type](node.attribute[place])
        assert fingerprint(ir.from_proto(model)) != original, (node.name, kept.name)
        node.attribute[place].CopyFrom(kept)
    assert fingerprint(ir.from_proto(model)) == original


def test_it_stays_with_what_is_not_computed(tmp_path: Path) -> None:
    model = make_branching()
    before = fingerprint(ir.from_proto(model))
    model.doc_string, model.graph.doc_string, model.graph.name = "text", "text", "other"
    model.producer_name, model.producer_version, model.model_version = "someone", "9", 3
    model.graph.node[0].doc_string = "text"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.value_info.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["n", 3]))
    model.opset_import.append(helper.make_opsetid("unused", 1))
    helper.set_model_props(model, {"key": "value"})
    _swap("initializer")(model)
    for node in model.graph.node:
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name, reverse=True)
        kept = [copy.deepcopy(attribute) for attribute in attributes]
        del node.attribute[:]
        node.attribute.extend(kept)
    assert fingerprint(ir.from_proto(model)) == before
    named = ir.from_proto(model)
    complete_names(named)  # as reading a file does
    wanted = fingerprint(named)
    for name in ("a.onnx", "b.onnx"):
        onnx.save(model, tmp_path / name, save_as_external_data=name == "b.onnx", size_threshold=0)
        assert fingerprint(load_model(tmp_path / name)) == wanted


@pytest.mark.parametrize("make", [make_cnn, make_encoder])
def test_it_survives_saving_and_canonical_form(make: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    canonical = canonicalize(ir.from_proto(make()), "here")
    expected = fingerprint(canonical)
    save_model(canonical, tmp_path / "model.onnx")
    loaded = load_model(tmp_path / "model.onnx")
    assert fingerprint(loaded) == expected
    assert fingerprint(canonicalize(loaded, "there")) == expected


def test_a_float_attribute_counts_as_a_file_keeps_it() -> None:
    """In memory 0.1 is a double, in a file a float32."""
    model = ir.from_proto(make_branching())
    model.graph.node(4).attributes["factor"] = ir.AttrFloat32("factor", 0.1)
    assert fingerprint(model) == fingerprint(ir.from_proto(ir.to_proto(model)))


def test_types_that_numpy_lacks_have_a_fingerprint() -> None:
    found = set()
    for dtype in (TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.STRING):
        values = [b"1", b"2"] if dtype == TensorProto.STRING else [1, 2]
        model = make_branching()
        model.graph.initializer.append(helper.make_tensor("more", dtype, [2], values))
        found.add(fingerprint(ir.from_proto(model)))
    assert len(found) == 4
