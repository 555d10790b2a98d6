"""Composites in small operators become standard ones, whatever way they are written in; onnxruntime judges the result."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from small_ops import SmallOps

from mpq_onnx.passes.canonicalize import canonicalize

OPSETS = st.integers(11, 20)
EPSILONS = st.sampled_from([1e-3, 1e-5, 1e-6, 1e-12])
VIEWS = {"Transpose", "Reshape", "Squeeze", "Unsqueeze"}


@st.composite
def small_ops(draw: st.DrawFn) -> SmallOps:
    return SmallOps(lambda count: draw(st.integers(0, count - 1)), draw(OPSETS))


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    """The canonical form, which a second time changes nothing of."""
    canonical = ir.to_proto(canonicalize(ir.from_proto(model)))
    onnx.checker.check_model(canonical, full_check=True)
    again = ir.to_proto(canonicalize(ir.from_proto(canonical)))
    assert _nodes(again) == _nodes(canonical)
    return canonical


def _nodes(model: onnx.ModelProto) -> list[tuple[object, ...]]:
    return [(node.domain, node.op_type, node.name, *node.input, *node.output) for node in model.graph.node]


def ops(model: onnx.ModelProto) -> Counter[str]:
    """Operators but for views."""
    return Counter(node.op_type for node in model.graph.node if node.op_type not in VIEWS)


def check(source: onnx.ModelProto, shape: Sequence[int], wanted: dict[str, int], spread: float = 1.0) -> None:
    canonical = fused(source)
    assert ops(canonical) == Counter(wanted)
    feeds = {"x": (np.random.default_rng(0).standard_normal(shape) * spread + 0.3).astype(np.float32)}
    for expected, found in zip(run(source, feeds), run(canonical, feeds), strict=True):
        largest = float(np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * max(largest, 1.0))


def written_gelu(g: SmallOps) -> str:
    return g.product("x", g.plus(g.node("Erf", g.times("x", math.sqrt(0.5))), 1.0), g.constant(0.5))


def written_gelu_tanh(g: SmallOps) -> str:
    cube = g.node("Pow", "x", g.constant(3.0)) if g.choose(2) else g.product("x", "x", "x")
    inner = g.both("Add", "x", g.times(cube, 0.044715))
    if g.choose(2):  # sqrt(2/pi) x (1 + 0.044715 x^2)
        inner = g.both("Mul", "x", g.plus(g.times(g.square("x"), 0.044715), 1.0))
    argument = g.times(inner, math.sqrt(2 / math.pi))
    if g.choose(2):
        return g.product("x", g.node("Sigmoid", g.times(argument, 2.0)))
    return g.product("x", g.plus(g.node("Tanh", argument), 1.0), g.constant(0.5))


def written_silu(g: SmallOps) -> str:
    if g.choose(2):
        return g.both("Mul", "x", g.node("Sigmoid", "x"))
    return g.over("x", g.plus(g.node("Exp", g.node("Neg", "x")), 1.0))


def written_quick_gelu(g: SmallOps) -> str:
    return g.both("Mul", "x", g.node("Sigmoid", g.times("x", 1.702)))


def clipped(g: SmallOps, a: str, high: float) -> str:
    """clip(a, 0, high)"""
    way = g.choose(4)
    if way == 0:
        return g.node("Clip", a, _scalar(g, 0.0), _scalar(g, high))
    if g.opset == 11:  # Min and Max take no float scalars of every shape there in onnxruntime
        return g.node("Clip", g.node("Relu", a), "", _scalar(g, high))
    if way == 1:
        return g.both("Min", g.node("Relu", a), g.constant(high))
    if way == 2:
        return g.both("Max", g.both("Min", a, g.constant(high)), g.constant(0.0))
    return g.node("Clip", g.node("Relu", a), "", _scalar(g, high))


def _scalar(g: SmallOps, value: float) -> str:
    name = g.name()
    g.initializers[name] = np.array(value, np.float32)
    return name


def written_hard_swish(g: SmallOps) -> str:
    way = g.choose(3)
    if way == 0:
        return g.both("Mul", "x", g.node("HardSigmoid", "x", alpha=1 / 6, beta=0.5))
    if way == 1:
        return g.both("Mul", "x", clipped(g, g.plus(g.times("x", 1 / 6), 0.5), 1.0))
    return g.product("x", clipped(g, g.plus("x", 3.0), 6.0), g.constant(1 / 6))


def written_hard_sigmoid(g: SmallOps) -> str:
    if g.choose(2):
        return g.times(clipped(g, g.plus("x", 3.0), 6.0), 1 / 6)
    return clipped(g, g.plus(g.times("x", 0.2), 0.5), 1.0)


def written_mish(g: SmallOps) -> str:
    return g.both("Mul", "x", g.node("Tanh", g.node("Softplus", "x")))


def written_sigmoid(g: SmallOps) -> str:
    below = g.plus(g.node("Exp", g.node("Neg", "x")), 1.0)
    return g.node("Reciprocal", below) if g.choose(2) else g.node("Div", g.constant(1.0), below)


def written_relu(g: SmallOps) -> str:
    if g.opset > 11 and g.choose(2):
        return g.both("Max", "x", g.constant(0.0))
    return g.node("Relu", g.node("Relu", "x")) if g.choose(2) else g.node("Clip", "x", g.constant(0.0))


def written_limits(g: SmallOps) -> str:
    """Between -1 and 2, by way of others."""
    inner = g.node("Clip", "x", g.constant(-1.5), g.constant(5.0)) if g.choose(2) else "x"
    if g.opset > 11 and g.choose(2):
        return g.both("Max", g.both("Min", inner, g.constant(2.0)), g.constant(-1.0))
    return g.node("Clip", g.node("Clip", inner, "", g.constant(2.0)), g.constant(-1.0))


ACTIVATIONS = {
    "relu": (written_relu, "Relu"),
    "limits": (written_limits, "Clip"),
    "gelu": (written_gelu, "Gelu"),
    "gelu_tanh": (written_gelu_tanh, "Gelu"),
    "silu": (written_silu, "Swish"),
    "quick_gelu": (written_quick_gelu, "Swish"),
    "hard_swish": (written_hard_swish, "HardSwish"),
    "hard_sigmoid": (written_hard_sigmoid, "HardSigmoid"),
    "mish": (written_mish, "Mish"),
    "sigmoid": (written_sigmoid, "Sigmoid"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@settings(deadline=None, max_examples=20)
@given(g=small_ops())
def test_activations_in_any_way_of_writing(name: str, g: SmallOps) -> None:
    write, op_type = ACTIVATIONS[name]
    check(g.model(write(g), (2, 5, 4)), (2, 5, 4), {op_type: 1}, spread=3.0)


def with_scale_and_bias(g: SmallOps, y: str, scale: np.ndarray | None, bias: np.ndarray | None) -> str:
    if scale is not None:
        y = g.both("Mul", y, g.constant(scale))
    return y if bias is None else g.both("Add", y, g.constant(bias))


def written_norm(
    g: SmallOps,
    axes: Sequence[int],
    shape: Sequence[int],
    epsilon: float,
    scale: np.ndarray | None,
    bias: np.ndarray | None,
) -> str:
    """x normalized over `axes`, in one of the ways of torch, TensorFlow, JAX and hand-written code."""
    mean = g.mean("x", axes, shape)
    centred = g.node("Sub", "x", mean)
    way = g.choose(3)
    if way == 0:
        variance = g.mean(g.square(centred), axes, shape)
    elif way == 1:
        variance = g.mean(g.square(g.node("Sub", "x", g.mean("x", axes, shape))), axes, shape)
    else:
        variance = g.node("Sub", g.mean(g.square("x"), axes, shape), g.square(mean))
        variance = g.both("Max", variance, _scalar(g, 0.0)) if g.opset > 11 and g.choose(2) else variance
    inside = g.plus(variance, epsilon)
    if scale is not None and g.choose(2):  # x * (scale * rsqrt) + (bias - mean * (scale * rsqrt))
        factor = g.by_root(g.constant(scale), inside)
        moved = g.both("Mul", mean, factor)
        rest = g.node("Sub", g.constant(bias if bias is not None else 0.0), moved)
        return g.both("Add", g.both("Mul", "x", factor), rest)
    return with_scale_and_bias(g, g.by_root(centred, inside), scale, bias)


def parameters(draw_from: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return draw_from.uniform(0.5, 1.5, shape).astype(np.float32)


@settings(deadline=None, max_examples=20)
@given(g=small_ops(), epsilon=EPSILONS, affine=st.integers(0, 3), many=st.booleans(), seed=st.integers(0, 99))
def test_layer_normalization(g: SmallOps, epsilon: float, affine: int, many: bool, seed: int) -> None:
    shape, axes = ((2, 3, 4, 6), [2, 3]) if many else ((2, 5, 8), [2])
    rng = np.random.default_rng(seed)
    sizes = [shape[axis] for axis in axes]
    scale = parameters(rng, sizes) if affine & 1 else None
    bias = parameters(rng, sizes if not many else (1, *sizes)) if affine & 2 else None
    signed = g.choose(2) and not many
    y = written_norm(
        g,
        [axis - len(shape) for axis in axes] if signed and g.opset >= 13 else axes,
        shape,
        epsilon,
        scale,
        bias,
    )
    varies = scale is not None or bias is not None
    check(
        g.model(y, shape),
        shape,
        {"InstanceNormalization" if many and not varies else "LayerNormalization": 1},
    )


@settings(deadline=None, max_examples=20)
@given(
    g=small_ops(), epsilon=EPSILONS, affine=st.integers(0, 3), rank=st.integers(3, 5), seed=st.integers(0, 99)
)
def test_instance_normalization(g: SmallOps, epsilon: float, affine: int, rank: int, seed: int) -> None:
    shape = (2, 3, 4, 5, 2)[:rank]
    rng = np.random.default_rng(seed)
    each = (3, *[1] * (rank - 2))
    scale = parameters(rng, each) if affine & 1 else None
    bias = parameters(rng, (1, *each)) if affine & 2 else None
    y = written_norm(g, list(range(2, rank)), shape, epsilon, scale, bias)
    wanted = "LayerNormalization" if rank == 3 and scale is None and bias is None else "InstanceNormalization"
    check(g.model(y, shape), shape, {wanted: 1})


@settings(deadline=None, max_examples=20)
@given(g=small_ops(), epsilon=EPSILONS, affine=st.integers(0, 3), seed=st.integers(0, 99))
def test_layer_normalization_over_channels_first(g: SmallOps, epsilon: float, affine: int, seed: int) -> None:
    """ConvNeXt's: axis 1 of [n, C, H, W]."""
    shape = (2, 6, 3, 4)
    rng = np.random.default_rng(seed)
    scale = parameters(rng, (6, 1, 1)) if affine & 1 else None
    bias = parameters(rng, (6, 1, 1)) if affine & 2 else None
    check(g.model(written_norm(g, [1], shape, epsilon, scale, bias), shape), shape, {"LayerNormalization": 1})


@settings(deadline=None, max_examples=20)
@given(g=small_ops(), epsilon=EPSILONS, scaled=st.booleans(), first=st.booleans(), seed=st.integers(0, 99))
def test_rms_normalization(g: SmallOps, epsilon: float, scaled: bool, first: bool, seed: int) -> None:
    shape, axis = ((2, 6, 5), 1) if first else ((2, 5, 6), 2)
    rng = np.random.default_rng(seed)
    scale = parameters(rng, (6, 1) if first else 6) if scaled else None
    inside = g.plus(g.mean(g.square("x"), [axis], shape), epsilon)
    if scaled and g.choose(2):
        y = g.both("Mul", "x", g.by_root(g.constant(scale), inside))
    else:
        y = with_scale_and_bias(g, g.by_root("x", inside), scale, None)
    check(g.model(y, shape), shape, {"RMSNormalization": 1})


@settings(deadline=None, max_examples=15)
@given(g=small_ops(), epsilon=EPSILONS)
def test_variance_over_n_minus_one(g: SmallOps, epsilon: float) -> None:
    shape = (2, 5, 8)
    centred = g.node("Sub", "x", g.mean("x", [2], shape))
    variance = g.times(g.reduced("ReduceSum", g.square(centred), [2]), 1 / 7)
    y = g.by_root(centred, g.plus(variance, epsilon))
    check(g.model(y, shape), shape, {"LayerNormalization": 1})


@settings(deadline=None, max_examples=20)
@given(
    g=small_ops(),
    epsilon=EPSILONS,
    groups=st.sampled_from([1, 2, 6]),
    instance=st.booleans(),
    seed=st.integers(0, 99),
)
def test_group_normalization(g: SmallOps, epsilon: float, groups: int, instance: bool, seed: int) -> None:
    """As torch exports it, around InstanceNormalization, and by hand in small operators."""
    shape, rng = (2, 6, 4, 3), np.random.default_rng(seed)
    view = g.node("Reshape", "x", g.constant([0, groups, -1], np.int64))
    if instance:
        ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
        g.initializers.update(ones=ones, zeros=zeros)
        inner = g.node("InstanceNormalization", view, "ones", "zeros", epsilon=epsilon)
    else:
        length = 6 // groups * 12
        mean = g.mean(view, [2], (2, groups, length))
        centred = g.node("Sub", view, mean)
        variance = g.mean(g.square(centred), [2], (2, groups, length))
        inner = g.by_root(centred, g.plus(variance, epsilon))
    back = g.node("Reshape", inner, g.constant([-1, 6, 4, 3], np.int64))
    y = with_scale_and_bias(g, back, parameters(rng, (6, 1, 1)), parameters(rng, (1, 6, 1, 1)))
    wanted = "InstanceNormalization" if groups == 6 else "GroupNormalization"
    check(g.model(y, shape), shape, {wanted: 1})


@settings(deadline=None, max_examples=20)
@given(g=small_ops(), axis=st.integers(1, 2), shifted=st.booleans(), kept=st.booleans())
def test_softmax(g: SmallOps, axis: int, shifted: bool, kept: bool) -> None:
    shape = (2, 5, 4)

    def reduced(op_type: str, a: str) -> str:
        return (
            g.reduced(op_type, a, [axis]) if kept else g.unsqueezed(g.reduced(op_type, a, [axis], 0), [axis])
        )

    exponential = g.node("Exp", g.node("Sub", "x", reduced("ReduceMax", "x")) if shifted else "x")
    check(g.model(g.over(exponential, reduced("ReduceSum", exponential)), shape), shape, {"Softmax": 1})


@settings(deadline=None, max_examples=20)
@given(g=small_ops(), axis=st.integers(1, 2), way=st.integers(0, 4), kept=st.booleans())
def test_log_softmax(g: SmallOps, axis: int, way: int, kept: bool) -> None:
    shape = (2, 5, 4)

    def reduced(op_type: str, a: str) -> str:
        return (
            g.reduced(op_type, a, [axis]) if kept else g.unsqueezed(g.reduced(op_type, a, [axis], 0), [axis])
        )

    if way == 0:
        y = g.node("Sub", "x", reduced("ReduceLogSumExp", "x"))
    elif way == 1:
        exponential = g.node("Exp", "x")
        y = g.node("Log", g.over(exponential, reduced("ReduceSum", exponential)))
    else:
        maximum = reduced("ReduceMax", "x")
        shifted = g.node("Sub", "x", maximum) if way > 2 else "x"
        total = g.node("Log", reduced("ReduceSum", g.node("Exp", shifted)))
        y = g.node("Sub", "x", g.both("Add", maximum, total)) if way == 4 else g.node("Sub", shifted, total)
    if way == 2:
        g.nodes = [node for node in g.nodes if node.op_type not in ("ReduceMax",)]
        g.nodes = _used(g.nodes, y)
    check(g.model(y, shape), shape, {"LogSoftmax": 1})


def _used(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that `output` needs."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if node.output[0] in needed:
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


PRODUCERS = {
    "Conv": ((2, 3, 6, 6), (4, 3, 3, 3), (4, 1, 1), {}),
    "depthwise": ((2, 4, 6, 6), (4, 1, 3, 3), (4, 1, 1), {"group": 4}),
    "ConvTranspose": ((2, 4, 3, 3), (4, 3, 2, 2), (6, 1, 1), {"group": 2}),
    "Gemm": ((2, 5), (5, 4), (4,), {}),
    "Gemm transposed": ((2, 5), (4, 5), (4,), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "MatMul": ((2, 7, 5), (5, 4), (4,), {}),
}


@pytest.mark.parametrize("name", PRODUCERS)
@settings(deadline=None, max_examples=12)
@given(g=small_ops(), biased=st.booleans(), seed=st.integers(0, 99))
def test_normalization_of_keras_goes_into_the_weights(
    name: str, g: SmallOps, biased: bool, seed: int
) -> None:
    """(y - mean) / sqrt(var + epsilon) * scale + bias with constants, in three ways."""
    shape, weight_shape, beside, attributes = PRODUCERS[name]
    rng = np.random.default_rng(seed)
    op_type = {"depthwise": "Conv", "Gemm transposed": "Gemm"}.get(name, name)
    inputs = ["x", "w"]
    g.initializers["w"] = rng.standard_normal(weight_shape).astype(np.float32)
    if biased and op_type != "MatMul":
        inputs.append("b")
        g.initializers["b"] = parameters(
            rng, (beside[0],) if op_type != "Gemm" or g.choose(2) else (1, beside[0])
        )
    y = g.node(op_type, *inputs, **attributes)
    if biased and op_type == "MatMul":
        y = g.both("Add", y, g.constant(parameters(rng, beside)))
    mean, scale, bias = (parameters(rng, beside) for _ in range(3))
    variance = parameters(rng, beside)
    factor = (scale / np.sqrt(variance + 1e-3)).astype(np.float32)
    way = g.choose(3)
    if way == 0:
        y = g.both("Add", g.both("Mul", y, g.constant(factor)), g.constant(bias - mean * factor))
    elif way == 1:
        root = g.node("Sqrt", g.both("Add", g.constant(variance), g.constant(1e-3)))
        y = g.node("Div", g.node("Sub", y, g.constant(mean)), root)
        y = with_scale_and_bias(g, y, scale, bias)
    else:
        y = g.node("Sub", g.both("Mul", g.constant(factor), y), g.constant(mean * factor - bias))
    check(g.model(y, shape), shape, {op_type: 1} | ({"Add": 1} if op_type == "MatMul" else {}))


def graph(
    nodes: list[onnx.NodeProto], outputs: Sequence[str], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 8])],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


LAYER_NORM = [
    helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2]),
    helper.make_node("Sub", ["x", "mean"], ["d"]),
    helper.make_node("Mul", ["d", "d"], ["dd"]),
    helper.make_node("ReduceMean", ["dd"], ["var"], axes=[2]),
    helper.make_node("Add", ["var", "epsilon"], ["inside"]),
    helper.make_node("Sqrt", ["inside"], ["root"]),
    helper.make_node("Div", ["d", "root"], ["y"]),
]
EPSILON = {"epsilon": np.array(1e-5, np.float32)}


@pytest.mark.parametrize("inner", ["mean", "d", "dd", "var", "root"])
def test_no_layer_norm_is_fused_around_an_output_of_the_model(inner: str) -> None:
    assert "LayerNormalization" not in ops(fused(graph(LAYER_NORM, ["y", inner], EPSILON)))


@pytest.mark.parametrize("inner", ["mean", "d", "dd", "var", "root"])
def test_no_layer_norm_is_fused_around_a_value_that_is_read_elsewhere(inner: str) -> None:
    nodes = [*LAYER_NORM, helper.make_node("Tanh", [inner], ["other"])]
    assert "LayerNormalization" not in ops(fused(graph(nodes, ["y", "other"], EPSILON)))


OTHERS = {
    "epsilon outside": [*LAYER_NORM[:4], "Sqrt var -> root", "Add root epsilon -> o", "Div d o -> y"],
    "another axis": [
        *LAYER_NORM[:3],
        helper.make_node("ReduceMean", ["dd"], ["var"], axes=[1]),
        *LAYER_NORM[4:],
    ],
    "not centred below": [*LAYER_NORM[:2], "Mul x x -> dd", *LAYER_NORM[3:]],
    "not centred above": [*LAYER_NORM[:6], "Div x root -> y"],
    "times the root": [*LAYER_NORM[:6], "Mul d root -> y"],
}


def _node(text: str | onnx.NodeProto) -> onnx.NodeProto:
    if not isinstance(text, str):
        return text
    op_type, *inputs, _, output = text.split()
    return helper.make_node(op_type, inputs, [output])


@pytest.mark.parametrize("name", OTHERS)
def test_other_formulas_are_no_layer_norm(name: str) -> None:
    source = graph([_node(each) for each in OTHERS[name]], ["y"], EPSILON)
    canonical = fused(source)
    assert not ops(canonical) & Counter(["LayerNormalization", "InstanceNormalization"])
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32) + 1}
    np.testing.assert_allclose(run(canonical, feeds)[0], run(source, feeds)[0], rtol=1e-5, atol=1e-5)


def test_a_shape_that_a_constant_enlarges_stays() -> None:
    nodes = [*LAYER_NORM, helper.make_node("Mul", ["y", "wide"], ["z"])]
    constants = EPSILON | {"wide": np.ones((3, 1, 1, 1), np.float32)}
    found = ops(fused(graph(nodes, ["z"], constants)))
    assert found == Counter(["LayerNormalization", "Mul"])


def test_other_constants_are_no_gelu() -> None:
    nodes = [
        helper.make_node("Div", ["x", "c"], ["a"]),
        helper.make_node("Erf", ["a"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["p"]),
        helper.make_node("Mul", ["x", "p"], ["m"]),
        helper.make_node("Mul", ["m", "half"], ["y"]),
    ]
    constants = {"c": 1.5, "one": 1.0, "half": 0.5}
    found = ops(
        fused(graph(nodes, ["y"], {name: np.array(value, np.float32) for name, value in constants.items()}))
    )
    assert "Gelu" not in found


def test_shared_weights_keep_their_values() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((8, 8)).astype(np.float32), "s": parameters(rng, 8)}
    assert ops(fused(graph(nodes, ["y"], constants))) == Counter(["MatMul", "MatMul", "Mul"])


def behind_views(behind: str, opset: int = 17) -> onnx.ModelProto:
    """A one-dimensional layer as tf2onnx writes it: two dimensions between views, then `behind` and an activation function."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[n, 6, 10] x) => (float[n, a, b] y) {{
        axis = Constant <value = int64[1] {{2}}> ()
        wide = Unsqueeze(x, axis)
        weight = Constant <value = float[4, 6, 1, 3] {{{", ".join(str((i * 7 % 11 - 5) / 10) for i in range(72))}}}> ()
        conv = Conv<kernel_shape = [1, 3]>(wide, weight)
        four = Constant <value = float[4] {{0.5, -1.0, 2.0, 0.25}}> ()
        column = Constant <value = float[4, 1] {{0.5, -1.0, 2.0, 0.25}}> ()
        starts = Constant <value = int64[1] {{1}}> ()
        ends = Constant <value = int64[1] {{7}}> ()
        last = Constant <value = int64[1] {{-1}}> ()
        one = Constant <value = int64[1] {{1}}> ()
        lowest = Constant <value = int64[1] {{-9999}}> ()
        both = Constant <value = int64[2] {{0, 1}}> ()
        zeros = Constant <value = int64[2] {{0, 0}}> ()
        many = Constant <value = int64[2] {{9999, 9999}}> ()
        target = Constant <value = int64[3] {{0, 2, -1}}> ()
        half = Constant <value = float {{0.5}}> ()
        {behind}
    }}"""
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize(
    "behind",
    [
        "narrow = Squeeze(conv, axis)  z = Add(narrow, column)  y = Relu(z)",
        "narrow = Squeeze(conv, axis)  z = Mul(column, narrow)  y = Relu(z)",
        "narrow = Squeeze(conv, axis)  back = Transpose<perm = [0, 2, 1]>(narrow)  z = Sub(back, four)  y = Relu(z)",
        "part = Slice(conv, starts, ends, last)  narrow = Squeeze(part, axis)  z = Div(narrow, column)  y = Relu(z)",
        "narrow = Squeeze(conv, axis)  m = Abs(four)  z = BatchNormalization(narrow, four, four, four, m)  y = Relu(z)",
        "narrow = Squeeze(conv, axis)  p = Mul(narrow, column)  z = Add(p, column)  y = Relu(z)",
        "part = Slice(conv, zeros, many, both)  narrow = Squeeze(part, axis)  z = Add(narrow, column)  y = Relu(z)",
        "rows = Reshape(conv, target)  t = Transpose<perm = [0, 2, 1]>(rows)  z = Mul(half, t)  y = Relu(z)",
        "rows = Reshape(conv, target)  z = Div(rows, half)  y = Relu(z)",
    ],
)
def test_constants_behind_views_go_into_the_weights(behind: str) -> None:
    wanted = {"Conv": 1, "Relu": 1} | ({"Slice": 1} if "Slice" in behind else {})
    check(behind_views(behind), (3, 6, 10), wanted)


@pytest.mark.parametrize(
    "behind",
    [
        "narrow = Squeeze(conv, axis)  rows = Constant<value = float[8] {1, 2, 3, 4, 5, 6, 7, 8}>()  y = Add(narrow, rows)",
        "narrow = Squeeze(conv, axis)  z = Add(narrow, column)  y = Add(z, narrow)",
        "turned = Slice(conv, last, lowest, one, last)  narrow = Squeeze(turned, axis)  y = Add(narrow, column)",
        "narrow = Squeeze(conv, axis)  z = Sub(column, narrow)  two = Relu(conv)  t = Squeeze(two, axis)  y = Add(z, t)",
    ],
)
def test_what_is_no_bias_stays_behind_its_view(behind: str) -> None:
    """A constant a position; a view or a layer that others read too."""
    canonical = fused(behind_views(behind))
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 6, 10)).astype(np.float32)}
    np.testing.assert_allclose(
        run(canonical, feeds)[0], run(behind_views(behind), feeds)[0], rtol=1e-5, atol=1e-5
    )
    assert "Add" in ops(canonical)
