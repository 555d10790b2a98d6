"""Every multiply-accumulate operator, grouped, transposed, shared, with biases of any form, through the default path."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.graph.mac import mac_of, macs_of
from mpq_onnx.graph.uncounted import uncounted_macs
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runtime.session import Runner

QUICK = AllocateOptions(method="uniform", rounding="nearest")
RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def single(
    op_type: str, shape: tuple, weight: np.ndarray, bias: np.ndarray | None, **attributes
) -> onnx.ModelProto:
    """One operator behind a ReLU; its data are input 0 unless the operator is written as LeftMatMul or LeftGemm."""
    left = op_type.startswith("Left")
    operands = ["w", "r"] if left else ["r", "w"]
    inputs = operands + ([] if bias is None else ["b"])
    tensors = {"w": weight} | ({} if bias is None else {"b": bias})
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node(op_type.removeprefix("Left"), inputs, ["y"], "product", **attributes),
    ]
    return make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", None)], tensors)


N = "n"
CASES = {
    "conv": (single("Conv", (N, 4, 7, 6), normal(6, 4, 3, 2), normal(6), pads=[1, 0, 1, 1], strides=[2, 1]), 4 * 6 * 144),
    "conv grouped": (single("Conv", (N, 4, 7, 6), normal(6, 2, 3, 3), None, group=2), 20 * 6 * 18),
    "conv depthwise 1d": (single("Conv", (N, 4, 9), normal(4, 1, 3), normal(4), group=4, dilations=[2]), 5 * 4 * 3),
    "conv transpose": (single("ConvTranspose", (N, 4, 5, 5), normal(4, 3, 3, 3), normal(3), strides=[2, 2]), 100 * 27),
    "conv transpose grouped": (
        single("ConvTranspose", (N, 4, 5, 5), normal(4, 3, 3, 3), normal(6), group=2, output_padding=[1, 1], strides=[2, 2]),
        100 * 27,
    ),
    "conv transpose depthwise": (
        single("ConvTranspose", (N, 4, 5, 5), normal(4, 1, 3, 3), normal(4), group=4, strides=[2, 2]),
        100 * 9,
    ),
    "gemm, bias [1, N]": (single("Gemm", (N, 8), normal(8, 5), normal(1, 5)), 40),
    "gemm, bias []": (single("Gemm", (N, 8), normal(5, 8), normal(), transB=1), 40),
    "gemm, bias [1], alpha, beta": (single("Gemm", (N, 8), normal(8, 5), normal(1), alpha=0.5, beta=4.0), 40),
    "gemm, transposed data": (single("Gemm", (8, N), normal(8, 5), normal(5), transA=1, beta=3.0), 40),
    "gemm on the left": (single("LeftGemm", (8, N), normal(5, 8), normal(5, 1), beta=2.0), 40),
    "matmul": (single("MatMul", (N, 3, 8), normal(8, 5), None), 120),
    "matmul on the left": (single("LeftMatMul", (N, 8, 3), normal(5, 8), None), 120),
    "matmul stacked": (single("MatMul", (N, 4, 3, 8), normal(4, 8, 5), None), 480),
    "matmul stacked on the left": (single("LeftMatMul", (N, 4, 8, 3), normal(4, 5, 8), None), 480),
    "matmul vector": (single("MatMul", (N, 3, 8), normal(8), None), 24),
    "einsum": (single("Einsum", (N, 3, 8), normal(8, 2, 5), None, equation="nth,hkd->ntkd"), 240),
    "einsum on the left": (single("LeftEinsum", (N, 8, 3), normal(5, 8), None, equation="dh,nht->ntd"), 120),
    "einsum, ellipsis": (single("Einsum", (N, 3, 8), normal(8, 5), None, equation="...c,cd->...d"), 120),
    "einsum, ellipsis on the left": (single("LeftEinsum", (N, 4, 3, 8), normal(5, 8), None, equation="dc, ...c"), 480),
    "einsum, two ellipses": (single("Einsum", (N, 4, 3, 8), normal(1, 4, 8, 5), None, equation="...tc,...cd->...td"), 480),
    "einsum without an arrow": (single("Einsum", (N, 3, 8), normal(8, 5), None, equation="abz,zd"), 120),
}  # fmt: skip


def save(model: onnx.ModelProto, path: Path) -> Path:
    """With outputs as shape inference finds them."""
    inferred = onnx.shape_inference.infer_shapes(model)
    assert len(inferred.graph.output) == 1
    onnx.save(inferred, path)
    return path


@pytest.mark.parametrize("case", CASES)
def test_every_form_is_quantized_and_counted(case: str, tmp_path: Path) -> None:
    model, macs = CASES[case]
    path = save(model, tmp_path / "model.onnx")
    result = mpq_onnx.allocate(
        path, "random?count=800", tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    allocation = result.chosen.allocation
    assert sum(node.macs for node in allocation.nodes) == macs
    assert allocation.bit_operations == macs * 64
    check = result.mirror_check
    assert min(check.optimized_sqnr, check.unoptimized_sqnr) > 45
    assert result.chosen.evaluation.comparison is not None
    assert result.chosen.evaluation.comparison.output_sqnr > 28


@pytest.mark.parametrize("case", CASES)
def test_the_canonical_form_computes_the_same_and_stays_as_it_is(case: str) -> None:
    model, _ = CASES[case]
    canonical = canonicalize(ir.from_proto(onnx.shape_inference.infer_shapes(model)))
    feeds = {
        "x": RNG.standard_normal([3 if size == N else size for size in shape_of(model)]).astype(np.float32)
    }
    wanted = Runner(ir.from_proto(model), "cpu").run(feeds)
    for each in (canonical, canonicalize(ir.from_proto(ir.to_proto(canonical)))):
        assert [node.name for node in each.graph] == [node.name for node in canonical.graph]
        for a, b in zip(Runner(each, "cpu").run(feeds), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    for mac in macs_of(canonical.graph):
        assert mac.is_constant and mac.held_index == 1 and mac.alpha == 1.0


def shape_of(model: onnx.ModelProto) -> list:
    return [each.dim_param or each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]


def test_the_constant_is_the_weight_on_either_side_of_a_file_as_it_stands() -> None:
    for op_type, held in (("MatMul", 1), ("LeftMatMul", 0)):
        model = ir.from_proto(single(op_type, (N, 8, 8), normal(8, 8), None))
        mac = mac_of(model.graph[1])
        assert mac is not None and (mac.held_index, mac.held.name, mac.data.name) == (held, "w", "r")
        assert mac.channel_axis((8, 8)) == held


MANY = {
    "k,kol,l": ("nk,kol,nl->no", [(N, 6), (6, 4, 5), (N, 5)], (6 * 20, 20)),
    "bilinear": ("ntk,nsk,kd->ntsd", [(N, 3, 6), (N, 4, 6), (6, 5)], (3 * 30, 3 * 4 * 30)),
    "low rank": ("ko,nk,op->np", [(6, 2), (N, 6), (2, 4)], (12, 8)),
    "no constant": ("nk,nk,nj->nj", [(N, 6), (N, 6), (N, 3)], (6, 3)),
}
"""Equation, shapes (constants have no N), and multiply-accumulates by turn."""


def einsum_of_many(case: str) -> onnx.ModelProto:
    equation, shapes, _ = MANY[case]
    names = [f"v{index}" for index in range(len(shapes))]
    inputs = [
        (name, TensorProto.FLOAT, shape) for name, shape in zip(names, shapes, strict=True) if N in shape
    ]
    tensors = {name: normal(*shape) for name, shape in zip(names, shapes, strict=True) if N not in shape}
    rank = len(equation.split("->")[1])
    nodes = [helper.make_node("Einsum", names, ["y"], "product", equation=equation)]
    return make_model(nodes, inputs, [("y", [N] + [None] * (rank - 1))], tensors)


@pytest.mark.parametrize("case", MANY)
def test_an_einsum_of_many_operands_is_products_of_two(case: str) -> None:
    model = einsum_of_many(case)
    canonical = canonicalize(ir.from_proto(model))
    products = list(macs_of(canonical.graph))
    assert len(products) == 2 and {each.node.op_type for each in products} <= {"Einsum", "MatMul"}
    assert products[-1].node.name == "product"
    constants = sum(N not in shape for shape in MANY[case][1])
    assert sum(mac.is_weight and mac.held_index == 1 for mac in products) == constants
    feeds = {
        each.name: normal(*(3 if size == N else size for size in shape))
        for each, shape in inputs_of(case, model)
    }
    (wanted,) = Runner(ir.from_proto(model), "cpu").run(feeds)
    np.testing.assert_allclose(Runner(canonical, "cpu").run(feeds)[0], wanted, rtol=1e-4, atol=1e-4)


def inputs_of(case: str, model: onnx.ModelProto) -> list[tuple[onnx.ValueInfoProto, tuple]]:
    shapes = [shape for shape in MANY[case][1] if N in shape]
    return list(zip(model.graph.input, shapes, strict=True))


def test_every_turn_is_quantized_and_counted(tmp_path: Path) -> None:
    case = "k,kol,l"
    path = save(einsum_of_many(case), tmp_path / "model.onnx")
    result = mpq_onnx.allocate(
        path, "random?count=64", tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    macs = MANY[case][2]
    assert result.chosen.allocation.bit_operations == sum(macs) * 64
    assert not any("float" in note for note in result.notes)
    mpq_onnx.handoff(result.model_path, tmp_path / "json", to="json")
    rows = json.loads((tmp_path / "json" / "layers.json").read_text())["layers"]
    assert [row["macs"] for row in rows] == list(macs)


@pytest.mark.parametrize("equation", ["nij->nji", "nij->nj", "nij->jn"])
def test_an_einsum_of_one_operand_is_no_product(equation: str) -> None:
    nodes = [helper.make_node("Einsum", ["x"], ["y"], "turn", equation=equation)]
    rank = len(equation.split("->")[1])
    model = make_model(nodes, [("x", TensorProto.FLOAT, [N, 4, 3])], [("y", [None] * rank)], {})
    canonical = canonicalize(ir.from_proto(model))
    assert "Einsum" not in [node.op_type for node in canonical.graph]
    assert uncounted_macs(canonical) == ()
    feeds = {"x": normal(2, 4, 3)}
    (wanted,) = Runner(ir.from_proto(model), "cpu").run(feeds)
    np.testing.assert_allclose(Runner(canonical, "cpu").run(feeds)[0], wanted, rtol=1e-5, atol=1e-5)


def test_a_stack_has_one_width_where_channels_have_their_own(tmp_path: Path) -> None:
    """Several widths are several scales, which a kernel for stacks does not take."""
    steep = normal(4, 8, 5) * (1 + 3 * np.arange(5)).astype(np.float32)
    path = save(single("MatMul", (N, 4, 3, 8), steep, None), tmp_path / "model.onnx")
    options = AllocateOptions(method="water-filling", rounding="nearest", granularity="channel")
    result = mpq_onnx.allocate(
        path, "random?count=32", tmp_path / "out", weight_bits=4.5, activation_bits=8, options=options
    )
    (width,) = [node.weight_bits for node in result.chosen.allocation.nodes if node.weight]
    assert isinstance(width, float) and 4 <= width <= 4.5
    assert result.mirror_check.optimized_sqnr > 45


def test_a_constant_image_under_a_computed_kernel(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["kernel"], "fold"),
        helper.make_node("Conv", ["image", "kernel"], ["c"], "product"),
        helper.make_node("Transpose", ["c"], ["y"], "turn", perm=[1, 0, 2, 3]),
    ]
    tensors = {"image": normal(1, 2, 6, 6), "shape": np.array([-1, 2, 3, 3])}
    path = save(
        make_model(nodes, [("x", TensorProto.FLOAT, [N, 18])], [("y", [N, 1, 4, 4])], tensors),
        tmp_path / "model.onnx",
    )
    result = mpq_onnx.allocate(path, "random?count=32", tmp_path / "out", activation_bits=8, options=QUICK)
    assert [node.macs for node in result.chosen.allocation.nodes if node.macs] == [16 * 18]
    assert result.mirror_check.optimized_sqnr > 45


@pytest.mark.parametrize(
    "case", ["conv", "conv transpose grouped", "matmul on the left", "gemm, bias [1, N]"]
)
def test_nodes_without_names_have_rows_of_their_own(case: str, tmp_path: Path) -> None:
    """Each operator twice, nothing named, handed off as it stands."""
    model = CASES[case][0]
    nodes = list(model.graph.node)
    again = [onnx.NodeProto(), onnx.NodeProto()]
    for node, copy in zip(nodes, again, strict=True):
        copy.CopyFrom(node)
    again[0].input[0] = "scaled"
    for copy in again:
        copy.output[0] += "_again"
    again[1].input[:] = ["r_again" if name == "r" else name for name in again[1].input]
    nodes = [*nodes, helper.make_node("Sign", ["x"], ["scaled"]), *again]
    nodes.append(helper.make_node("Add", ["y", "y_again"], ["z"]))
    tensors = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    shape = shape_of(model)
    twice = make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("z", None)], tensors)
    for node in twice.graph.node:
        node.name = ""
    path = save(twice, tmp_path / "model.onnx")
    mpq_onnx.handoff(path, tmp_path / "json", to="json")
    rows = json.loads((tmp_path / "json" / "layers.json").read_text())["layers"]
    assert [row["macs"] for row in rows] == [CASES[case][1]] * 2
    assert len({row["name"] for row in rows}) == 2


def shared_head() -> onnx.ModelProto:
    """One Conv weight on two maps, each with a bias of its own; one Gemm weight read straight and transposed."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b0"], ["c0"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("MaxPool", ["r0"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["r0", "h", "h0"], ["o0"], "head0", pads=[1] * 4),
        helper.make_node("Conv", ["p", "h", "h1"], ["o1"], "head1", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["o0"], ["g0"], "mean0"),
        helper.make_node("GlobalAveragePool", ["o1"], ["g1"], "mean1"),
        helper.make_node("Flatten", ["g0"], ["f0"], "flat0"),
        helper.make_node("Flatten", ["g1"], ["f1"], "flat1"),
        helper.make_node("Gemm", ["f0", "s", "s0"], ["y0"], "straight"),
        helper.make_node("Gemm", ["f1", "s", "s1"], ["y1"], "transposed", transB=1),
        helper.make_node("Add", ["y0", "y1"], ["y"], "sum"),
    ]
    tensors = {
        "w": weights(RNG, 8, 3, 3, 3), "b0": normal(8), "h": weights(RNG, 6, 8, 3, 3), "h0": normal(6), "h1": normal(6),
        "s": normal(6, 6), "s0": normal(6), "s1": normal(6),
    }  # fmt: skip
    return make_model(nodes, [("x", TensorProto.FLOAT, [N, 3, 8, 8])], [("y", [N, 6])], tensors)


@pytest.mark.parametrize("method", ["uniform", "water-filling"])
def test_a_shared_weight_is_stored_once_and_counted_at_every_use(method: str, tmp_path: Path) -> None:
    path = save(shared_head(), tmp_path / "model.onnx")
    options = AllocateOptions(method=method, rounding="adaptive", rounding_examples=32)
    result = mpq_onnx.allocate(
        path, "random?count=48", tmp_path / "out", weight_bits=5, activation_bits=8, options=options
    )
    allocation = result.chosen.allocation
    sizes = 64 * 8 * 27, 64 * 6 * 72, 16 * 6 * 72, 36, 36
    assert [node.macs for node in allocation.nodes if node.macs] == list(sizes)
    assert allocation.weight_bytes <= -(-(8 * 27 + 6 * 72 + 36) * 5 // 8)
    if method == "uniform":
        assert allocation.bit_operations == sum(sizes) * 5 * 8
    check = result.mirror_check
    assert min(check.optimized_sqnr, check.unoptimized_sqnr) > 45
    graph = onnx.load(result.model_path).graph
    stored = [each for each in graph.initializer if list(each.dims) in ([6, 8, 3, 3], [6, 6])]
    assert len(stored) == 2
    heads = {node.name: node for node in graph.node if node.op_type in ("Conv", "Gemm")}
    producers = {output: node.op_type for node in graph.node for output in node.output}
    assert [producers.get(heads[name].input[2]) for name in ("head0", "head1", "straight")] == [
        "DequantizeLinear"
    ] * 3
    assert result.chosen.evaluation.comparison is not None
    assert result.chosen.evaluation.comparison.output_sqnr > 15


def test_noise_scales_with_the_ranges_of_each_use(tmp_path: Path) -> None:
    """R_w by channel where the scales run along the channels of this use, the largest where they do not."""
    from mpq_onnx.graph.placement.mac_sites import mac_sites
    from mpq_onnx.runs.preparation import FloatModel
    from mpq_onnx.runtime.tensors import tensor_shapes

    path = save(shared_head(), tmp_path / "model.onnx")
    result = mpq_onnx.allocate(
        path, "random?count=48", tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    base = FloatModel(result.model_path, ir.load(result.model_path))
    shapes = tensor_shapes(base.model, base.open_data("random?count=4"), "cpu")
    sites = {site.node: site for site in mac_sites(base.model, shapes, {})}
    straight, transposed = sites["straight"].weight_range, sites["transposed"].weight_range
    assert straight is not None and len(straight) == 6
    assert transposed == (max(straight),)
    assert sites["head0"].weight_range == sites["head1"].weight_range


def test_a_tied_table_is_stored_once_and_rounded_for_the_classifier(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embedding"),
        helper.make_node("ReduceMean", ["e"], ["m"], "mean", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["m", "w", "b"], ["h"], "hidden", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "table", "bias"], ["y"], "classifier", transB=1),
    ]
    tensors = {"table": normal(40, 16), "w": weights(RNG, 16, 16), "b": normal(16), "bias": normal(40)}
    model = make_model(nodes, [("ids", TensorProto.INT64, [N, 6])], [("y", [N, 40])], tensors)
    path, data = save(model, tmp_path / "model.onnx"), tmp_path / "ids.npz"
    np.savez(data, ids=RNG.integers(0, 40, (64, 6)))
    nearest, result = (
        mpq_onnx.allocate(
            path, f"npz:{data}", tmp_path / rounding, weight_bits=5, activation_bits=8,
            options=AllocateOptions(method="water-filling", rounding=rounding, rounding_examples=32),
        )
        for rounding in ("nearest", "adaptive")
    )  # fmt: skip
    graph = onnx.load(result.model_path).graph
    assert sum(list(each.dims) == [40, 16] for each in graph.initializer) == 1
    assert sum(node.weight_elements for node in result.chosen.allocation.nodes) == 40 * 16 + 16 * 16
    assert min(result.mirror_check.optimized_sqnr, result.mirror_check.unoptimized_sqnr) > 45
    # What the classifier does not see, the embedding does.
    assert output_sqnr(result) > output_sqnr(nearest) - 2


def output_sqnr(result: mpq_onnx.AllocateResult) -> float:
    assert result.chosen.evaluation.comparison is not None
    return result.chosen.evaluation.comparison.output_sqnr
