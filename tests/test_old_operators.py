"""Operators whose meaning changed between opset 7 and 21, each at several opsets: onnxruntime runs both forms."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.passes.canonicalize import canonicalize

RNG = np.random.default_rng(0)
IMAGE, ROWS, FLAT = (4, 6, 6), (4, 6), (12,)
BRANCHED = (
    "Softmax",
    "Hardmax",
    "Upsample",
    "Resize",
    "Squeeze",
    "ReduceSum",
    "Clip",
    "Pad",
    "Slice",
    "Unsqueeze",
)


@dataclass(frozen=True)
class Case:
    """One node that reads x and gives y."""

    op_type: str
    opsets: tuple[int, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)
    """The node's other inputs, in order; a name that begins with _ is an input left out."""
    shape: tuple[int, ...] = IMAGE
    """Of one example."""
    outputs: int = 1


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def scales(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


NORM = {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + 0.5}
NO_REGION = {"roi": scales()}
CASES = [
    *(
        Case(op_type, (7, 11, 12), {"axis": axis}, shape=shape)
        for op_type in ("Softmax", "LogSoftmax", "Hardmax")
        for shape, axes in ((IMAGE, (0, 1, 2, 3)), (ROWS, (1, 2)), (FLAT, (1,)))
        for axis in axes
    ),
    *(Case(op_type, (7, 12, 13, 17)) for op_type in ("Softmax", "LogSoftmax", "Hardmax")),
    *(Case("Softmax", (11, 12, 13), {"axis": axis}) for axis in (-1, -2, -4)),
    *(Case("Flatten", (7, 9, 11, 13), {"axis": axis}) for axis in (0, 1, 2, 4)),
    Case("Flatten", (11, 13), {"axis": -2}),
    *(
        Case("Upsample", (7,), {"mode": mode, "scales": factors})
        for mode in ("nearest", "linear")
        for factors in ([1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.5, 1.0])
    ),
    *(
        Case(op_type, (opset,), {"mode": mode}, {"scales": scales(*factors)})
        for op_type, opset in (("Upsample", 9), ("Resize", 10))
        for mode in ("nearest", "linear")
        for factors in ((1, 1, 2, 1.5), (1, 1, 1, 3))
    ),
    *(
        Case("Resize", (10,), {"mode": mode}, {"scales": scales(*factors)})
        for mode in ("nearest", "linear")
        for factors in ((1, 1, 0.5, 0.7), (1, 1, 2, 0.5))
    ),
    *(
        Case(
            "Resize", (11, 13, 18), {"mode": mode, "coordinate_transformation_mode": coordinates},
            {**NO_REGION, "scales": scales(1, 1, 2, 1.5)},
        )
        for mode in ("nearest", "linear", "cubic")
        for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    ),
    Case("BatchNormalization", (7, 9, 14, 15), {"epsilon": 1e-3}, NORM),
    Case("BatchNormalization", (9, 15), {}, NORM, ROWS),
    Case("Clip", (7, 10), {"min": -0.3, "max": 0.5}),
    Case("Clip", (7, 10), {"min": -0.3}),
    Case("Clip", (11, 13), {}, {"_low": None, "high": np.float32(0.4)}),
    *(Case("Pad", (7, 10), {"mode": mode, "pads": [0, 0, 1, 2, 0, 0, 2, 1]}) for mode in ("constant", "reflect", "edge")),
    Case("Pad", (7,), {"pads": [0, 0, -1, 1, 0, 0, 0, -2], "value": 1.5}),
    Case("Pad", (11, 13, 18), {}, {"pads": integers(0, 0, 1, 2, 0, 0, 2, 1), "fill": np.float32(1.5)}),
    Case("Slice", (7, 9), {"axes": [2, 3], "starts": [1, -4], "ends": [2**31 - 1, -1]}),
    Case("Slice", (10, 13), {}, {"a": integers(5, 0), "b": integers(-100, 6), "c": integers(2, 3), "d": integers(-1, 2)}),
    *(
        Case(op_type, (7, 11, 12), {"axes": axes, "keepdims": keep})
        for op_type in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp")
        for axes, keep in (([2, 3], 0), ([1], 1))
    ),
    Case("ReduceSum", (13, 17), {"keepdims": 0}, {"axes": integers(2, 3)}),
    Case("ReduceMean", (13, 17), {"axes": [-1], "keepdims": 0}),
    Case("Squeeze", (7, 11, 12), {"axes": [1]}, shape=(1, 6, 6)),
    Case("Squeeze", (13, 17), {}, {"axes": integers(1)}, (1, 6, 6)),
    Case("Unsqueeze", (7, 11), {"axes": [1, 3]}, shape=ROWS),
    Case("Unsqueeze", (13, 17), {}, {"axes": integers(1, -1)}, ROWS),
    Case("Split", (7, 11, 12), {"axis": 1, "split": [1, 3]}, outputs=2),
    Case("Split", (7, 12, 13, 17), {"axis": 1}, outputs=2),
    Case("Split", (13, 17), {"axis": 1}, {"parts": integers(3, 1)}, outputs=2),
    Case("TopK", (7, 9), {"k": 3}, shape=FLAT, outputs=2),
    Case("TopK", (10, 11), {}, {"k": integers(3)}, FLAT, 2),
    Case("Dropout", (7, 10, 11), {"ratio": 0.3}),
    Case("Dropout", (12, 13), {}, {"ratio": np.float32(0.3)}),
    Case("Gemm", (7, 9, 10), {"alpha": 0.5, "beta": 2.0, "transB": 1}, {"w": floats(5, 12), "c": floats(5)}, FLAT),
    Case("Gemm", (11, 13), {"transB": 1}, {"w": floats(5, 12)}, FLAT),
    *(
        Case(
            "AveragePool", opsets,
            {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": padded, **ceiling},
        )
        for padded in (0, 1)
        for opsets, ceiling in (((7, 9), {}), ((10, 11, 17, 18), {"ceil_mode": 1}))
    ),
    *(
        Case("AveragePool", (7, 11, 17), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": padding})
        for padding in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    Case("MaxPool", (7, 8, 10, 12), {"kernel_shape": [3, 3], "strides": [2, 2]}),
    Case("GroupNormalization", (18, 20), {"num_groups": 2}, {"s": floats(2), "b": floats(2)}),
    Case("InstanceNormalization", (7, 17), {}, {"s": floats(4), "b": floats(4)}),
    Case("PRelu", (7, 9, 16), {}, {"slope": np.abs(floats(4, 1, 1))}),
    Case("Scatter", (9, 10), {"axis": 1}, {"at": integers(1, 3).reshape(1, 2), "new": floats(1, 2)}, FLAT),
    Case("ScatterElements", (11, 16), {"axis": 1}, {"at": integers(1, 3).reshape(1, 2), "new": floats(1, 2)}, FLAT),
    Case("ArgMax", (7, 11, 12), {"axis": 1, "keepdims": 0}),
    Case("Reshape", (7, 13), {}, {"target": integers(0, -1, 6)}),
    Case("Tile", (7, 13), {}, {"repeats": integers(1, 2, 1)}, ROWS),
    Case("CumSum", (11, 14), {}, {"axis": np.int64(1)}, ROWS),
]  # fmt: skip


def build(case: Case, opset: int) -> onnx.ModelProto:
    inputs = ["x", *("" if name.startswith("_") else name for name in case.constants)]
    outputs = ["y", *(f"y{count}" for count in range(1, case.outputs))]
    node = helper.make_node(case.op_type, inputs, outputs, **case.attributes)
    tensors = {name: array for name, array in case.constants.items() if array is not None}
    return _model([node], tensors, outputs, case.shape, opset)


def in_branches(case: Case, opset: int) -> onnx.ModelProto:
    """The node in both branches of an If."""
    inner = build(case, opset)
    branches = {}
    for name in ("then_branch", "else_branch"):
        node = helper.make_node(case.op_type, inner.graph.node[0].input, [name], **case.attributes)
        branches[name] = helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], **branches),
    ]
    tensors = {each.name: numpy_helper.to_array(each) for each in inner.graph.initializer}
    return _model(nodes, {**tensors, "zero": np.float32(0)}, ["y"], case.shape, opset)


def _model(
    nodes: list[onnx.NodeProto],
    tensors: Mapping[str, object],
    outputs: list[str],
    shape: tuple[int, ...],
    opset: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    for value, found in zip(model.graph.output, inferred, strict=True):
        value.CopyFrom(found)
        if (value.name == "y1" and nodes[0].op_type == "TopK") or nodes[0].op_type == "ArgMax":
            value.type.tensor_type.elem_type = TensorProto.INT64
    return model


def run(content: bytes, x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def assert_same(source: onnx.ModelProto, case: Case, batches: tuple[int, ...]) -> None:
    canonical = canonicalize(ir.from_proto(source))
    assert canonical.opset_imports[""] == 21
    for batch in batches:
        x = np.random.default_rng(batch).standard_normal((batch, *case.shape)).astype(np.float32)
        for found, wanted in zip(
            run(model_bytes(canonical), x), run(source.SerializeToString(), x), strict=True
        ):
            assert found.shape == wanted.shape and found.dtype == wanted.dtype
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=[f"{index}-{case.op_type}" for index, case in enumerate(CASES)])
def test_same_numbers_as_the_source_for_any_batch(case: Case) -> None:
    batches = (1,) if case.op_type.startswith("Scatter") else (1, 3)
    for opset in case.opsets:
        assert_same(build(case, opset), case, batches)


@pytest.mark.parametrize("op_type", BRANCHED)
def test_inside_branches_too(op_type: str) -> None:
    case = next(case for case in CASES if case.op_type == op_type and case.outputs == 1)
    assert_same(in_branches(case, case.opsets[0]), case, (1, 3))


def test_group_normalization_of_unknown_channels_is_refused() -> None:
    case = Case("GroupNormalization", (18,), {"num_groups": 2}, {"s": floats(2), "b": floats(2)})
    model = build(case, 18)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"
    with pytest.raises(ModelError, match="number of channels"):
        canonicalize(ir.from_proto(model))
