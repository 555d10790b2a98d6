"""float16, bfloat16 and double networks: float32 inside, the same types outside; onnxruntime on the source is the judge."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_cnn, make_encoder, make_model, weights
from onnx import TensorProto, helper, numpy_helper
from test_cli import run_inside

from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.passes.compute_in_float32 import converted_types
from mpq_onnx.runs.exporting import export

ONNX_TYPES = {"float16": TensorProto.FLOAT16, "double": TensorProto.DOUBLE, "bfloat16": TensorProto.BFLOAT16}
NUMPY_TYPES = {"float16": np.float16, "double": np.float64}


def retyped(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """`model` with every float32 tensor in the named type."""
    wanted = ONNX_TYPES[name]
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(tensor.name, wanted, values.shape, values.reshape(-1)))
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = wanted
    return model


def run(content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def types_inside(model: ir.Model) -> set[ir.DataType]:
    """Of all tensors but the graph's inputs and outputs."""
    outer = {*model.graph.inputs, *model.graph.outputs}
    values = [v for node in model.graph.all_nodes() for v in node.outputs]
    values += model.graph.initializers.values()
    return {value.dtype for value in values if value not in outer}


def perceptron() -> onnx.ModelProto:
    """Of operators that onnxruntime computes in double too."""
    rng = np.random.default_rng(0)
    tensors = {"w": weights(rng, 8, 6), "b": weights(rng, 8), "v": weights(rng, 8, 4)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["s"], "second"),
        helper.make_node("Softmax", ["s"], ["y"], "softmax", axis=1),
    ]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("y", ["n", 4])], tensors)


def branching() -> onnx.ModelProto:
    """An If whose branches compute, one of them with a constant of its own, and inner casts between types."""
    half = TensorProto.FLOAT16
    tensor = helper.make_tensor_value_info
    constant = helper.make_tensor("k", half, [1], [0.5])
    then = helper.make_graph(
        [
            helper.make_node("Constant", [], ["half"], value=constant),
            helper.make_node("Mul", ["x", "half"], ["then_y"]),
        ],
        "then",
        [],
        [tensor("then_y", half, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["else_y"])], "else", [], [tensor("else_y", half, None)]
    )
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["wide"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["chosen"], then_branch=then, else_branch=other),
        helper.make_node("Exp", ["wide"], ["grown"]),
        helper.make_node("Cast", ["grown"], ["narrow"], to=half),
        helper.make_node("Add", ["chosen", "narrow"], ["y"]),
        helper.make_node("Shape", ["y"], ["size"]),
        helper.make_node(
            "ConstantOfShape", ["size"], ["ones"], value=helper.make_tensor("v", half, [1], [1.0])
        ),
        helper.make_node("Sub", ["ones", "y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [tensor("x", half, ["n", 4])],
        [tensor("y", half, ["n", 4]), tensor("z", half, ["n", 4]), tensor("narrow", half, ["n", 4])],
        [numpy_helper.from_array(np.zeros((), np.float32), "zero")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        shape = [dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = (
            rng.standard_normal(shape).astype(dtype)
            if dtype.kind in "fV"
            else rng.integers(0, 20, shape).astype(dtype)
        )
    return feeds


SOURCES = {
    "cnn_float16": lambda: retyped(make_cnn(), "float16"),
    "encoder_float16": lambda: retyped(make_encoder(), "float16"),
    "perceptron_double": lambda: retyped(perceptron(), "double"),
    "branching": branching,
}


@pytest.mark.parametrize("name", SOURCES)
def test_float32_inside_and_the_same_types_outside(name: str) -> None:
    source = SOURCES[name]()
    canonical = canonicalize(ir.from_proto(source))
    onnx.checker.check_model(ir.to_proto(canonical), full_check=True)
    assert types_inside(canonical) <= {ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL}
    wanted_types = (ir.DataType.DOUBLE,) if "double" in name else (ir.DataType.FLOAT16,)
    assert converted_types(ir.from_proto(source)) == wanted_types
    assert converted_types(canonical) == ()
    wanted = run(source.SerializeToString(), feeds_of(source))
    found = run(model_bytes(canonical), feeds_of(source))
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        precision = float(np.finfo(np.float16 if "16" in name or name == "branching" else np.float32).eps)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=20 * precision * np.abs(theirs).max())
    again = canonicalize(ir.from_proto(ir.to_proto(canonical)))
    assert fingerprint(again) == fingerprint(canonical)


@pytest.mark.parametrize("name", ["float16", "double", "bfloat16"])
def test_export_checks_against_the_source_and_says_what_it_does(name: str, tmp_path: Path) -> None:
    """bfloat16, and Erf in double, have no kernels in onnxruntime: ONNX's reference implementation judges."""
    source = retyped(make_encoder(), name)
    onnx.save(source, tmp_path / "source.onnx")
    result = export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    assert len(result.notes) == 1
    assert name in result.notes[0]
    assert "float32" in result.notes[0]
    precision = {"float16": 2**-10, "bfloat16": 2**-7, "double": 1e-5}[name]
    assert result.largest_difference < 20 * precision * result.largest_output
    again = export(str(tmp_path / "float.onnx"), tmp_path / "again.onnx")
    assert again.notes == ()
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32 if name == "bfloat16" else name))
    assert onnx.load(tmp_path / "again.onnx").graph.output[0].type.tensor_type.elem_type == kind


def rounded_between(how: str, kind: int) -> onnx.ModelProto:
    """A float network that rounds what is between two layers to another type; no type is stated there."""
    rng = np.random.default_rng(0)
    like = helper.make_tensor("like", kind, [1], [0.0])
    casts = [
        helper.make_node("Cast", ["h"], ["low"], "down", to=kind),
        helper.make_node("Cast", ["low"], ["r"], "up", to=1),
    ]
    middles = {
        "Cast": casts,
        "CastLike": [
            helper.make_node("Constant", [], ["like"], value=like),
            helper.make_node("CastLike", ["h", "like"], ["low"], "down"),
            helper.make_node("Cast", ["low"], ["r"], "up", to=1),
        ],
        "function": [helper.make_node("Rounded", ["h"], ["r"], "rounded", domain="local")],
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        *middles[how],
        helper.make_node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    tensors = {"w": weights(rng, 32, 16), "v": weights(rng, 16, 8)}
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 32])], [("y", ["n", 8])], tensors)
    if how == "function":
        opsets = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("local", "Rounded", ["h"], ["r"], casts, opsets))
        model.opset_import.append(helper.make_opsetid("local", 1))
    return model


@pytest.mark.parametrize("name", ONNX_TYPES)
@pytest.mark.parametrize("how", ["Cast", "CastLike", "function"])
def test_another_type_between_two_layers(how: str, name: str, tmp_path: Path) -> None:
    """The source rounds where the canonical form does not: its check allows for it, and a note says it."""
    onnx.save(rounded_between(how, ONNX_TYPES[name]), tmp_path / "source.onnx")
    result = export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    assert any(name in note for note in result.notes)
    assert export(str(tmp_path / "float.onnx"), tmp_path / "again.onnx").notes == ()


def test_bfloat16_inputs_become_float32(tmp_path: Path) -> None:
    onnx.save(retyped(perceptron(), "bfloat16"), tmp_path / "source.onnx")
    result = export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    assert result.largest_difference < 20 * 2**-7 * result.largest_output
    graph = onnx.load(tmp_path / "float.onnx").graph
    kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert kinds == {TensorProto.FLOAT}
    assert any("become float32" in note for note in result.notes)


def test_values_beyond_float32_stay_finite() -> None:
    """The lowest double, as masks have it."""
    lowest = np.full((1, 4), np.finfo(np.float64).min)
    nodes = [helper.make_node("Add", ["x", "mask"], ["y"], "add")]
    source = retyped(make_model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", ["n", 4])], {}), "double")
    source.graph.initializer.append(numpy_helper.from_array(lowest, "mask"))
    canonical = canonicalize(ir.from_proto(source))
    assert canonical.graph.initializers["mask"].const_value.numpy().min() == np.finfo(np.float32).min


@pytest.mark.parametrize("name", ["float16", "double"])
def test_every_stage_takes_the_source_itself(name: str, tmp_path: Path) -> None:
    """Quantized, judged against the source, handed off, made noisy; the arrays keep the source's type all along."""
    source, quantized = tmp_path / "source.onnx", tmp_path / "out" / "model.onnx"
    onnx.save(retyped(perceptron(), name), source)
    data = ("--data", "random?count=48")
    allocate = ("--method", "uniform", "--rounding", "nearest", "--steps", 1)
    done = run_inside(
        "allocate",
        source,
        *data,
        "--weight-bits",
        8,
        "--activation-bits",
        8,
        *allocate,
        "-o",
        tmp_path / "out",
    )
    assert done.returncode == 0, done.stderr
    assert f"{name} is computed in float32" in done.stdout
    model = onnx.load(quantized)
    kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert kinds == {ONNX_TYPES[name]}
    entries = json.loads((tmp_path / "out" / "allocation.json").read_text())["nodes"]
    assert [entry["op_type"] for entry in entries if entry["input"]] == ["Gemm", "MatMul"]
    judged = run_inside("evaluate", quantized, *data, "--baseline", source, "--json")
    assert judged.returncode == 0, judged.stderr
    assert float(json.loads(judged.stdout)["evaluation"]["comparison"]["output_sqnr"]) > 20
    handed = run_inside("handoff", quantized, "--to", "json", *data, "-o", tmp_path / "json")
    assert handed.returncode == 0, handed.stderr
    noisy = run_inside(
        "allocate", quantized, *data, "--noise", "shot", "--energy-per-mac", 500, "--method", "uniform",
        "-o", tmp_path / "noisy",
    )  # fmt: skip
    assert noisy.returncode == 0, noisy.stderr
