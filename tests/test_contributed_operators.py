"""Operators of onnxruntime in standard ones: onnxruntime on the source judges each of them, attribute by attribute."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_model
from onnx import TensorProto, helper, numpy_helper

from mpq_onnx.graph.model_file import load_model, model_bytes
from mpq_onnx.passes.canonicalize import canonicalize

DOMAIN = "com.microsoft"
OPSETS = (11, 14, 17, 20, 21)
BATCH, TOKENS, KEYS, HEADS, SIZE = 2, 5, 7, 2, 4
WIDTH = HEADS * SIZE
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(top: int, *shape: int, dtype: type = np.int32) -> np.ndarray:
    return RNG.integers(0, top, shape).astype(dtype)


@dataclass
class Case:
    """One node, what it reads, and what it has to become."""

    op_type: str
    inputs: list[np.ndarray | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: tuple[int, ...] = ()
    """Which inputs are initializers; the rest are the model's, with every axis open but those of `closed`."""
    outputs: tuple[int, ...] = (0,)
    becomes: str | None = None
    """An operator that the canonical form has then."""
    domain: str = DOMAIN
    closed: tuple[int, ...] = (-1,)
    """Axes of the model's inputs whose lengths are stated, counted from the end."""
    is_closed: bool = False
    """Whether the lengths of all inputs are stated."""

    def model(self, opset: int) -> onnx.ModelProto:
        """A model of this node alone, whose outputs have no types yet."""
        names = ["" if each is None else f"i{index}" for index, each in enumerate(self.inputs)]
        given = {f"i{index}": each for index, each in enumerate(self.inputs) if each is not None}
        kept = {f"i{index}": given[f"i{index}"] for index in self.constants if f"i{index}" in given}
        outputs = [f"o{index}" if index in self.outputs else "" for index in range(max(self.outputs) + 1)]
        node = helper.make_node(self.op_type, names, outputs, "fused", domain=self.domain, **self.attributes)
        values = [self._value(name, array) for name, array in given.items() if name not in kept]
        graph = helper.make_graph(
            [node],
            "contributed",
            values,
            [helper.make_value_info(name, onnx.TypeProto()) for name in outputs if name],
            [numpy_helper.from_array(array, name) for name, array in kept.items()],
        )
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    def _value(self, name: str, array: np.ndarray) -> onnx.ValueInfoProto:
        stated = {each % array.ndim for each in self.closed if -array.ndim <= each} if array.ndim else set()
        if array.dtype != np.float32:
            stated = set()
        if self.is_closed:
            stated = set(range(array.ndim))
        shape = [size if axis in stated else f"{name}_{axis}" for axis, size in enumerate(array.shape)]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    def feeds(self) -> dict[str, np.ndarray]:
        return {
            f"i{index}": each
            for index, each in enumerate(self.inputs)
            if each is not None and index not in self.constants
        }


def run(content: bytes, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, dict(feeds))


def typed(model: onnx.ModelProto, outputs: list[np.ndarray]) -> ir.Model:
    """`model` with the types of its outputs, which ONNX's inference does not know."""
    for value, array in zip(model.graph.output, outputs, strict=True):
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        value.type.CopyFrom(helper.make_tensor_type_proto(kind, [None] * array.ndim))
    return ir.from_proto(model)


def check(case: Case, opset: int) -> ir.Model:
    """The canonical form, after its outputs agreed with onnxruntime's on the source."""
    source = case.model(opset)
    expected = run(source.SerializeToString(), case.feeds())
    canonical = canonicalize(typed(source, expected))
    onnx.checker.check_model(ir.to_proto(canonical), full_check=True)
    assert all(node.domain in ("", "mpq_onnx.composite") for node in canonical.graph)
    for ours, theirs in zip(run(model_bytes(canonical), case.feeds()), expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)
    if case.becomes is not None:
        assert case.becomes in {node.op_type for node in canonical.graph}
    return canonical


def x3() -> np.ndarray:
    return numbers(BATCH, TOKENS, WIDTH)


ACTIVATIONS: dict[str, Callable[[], Case]] = {
    "gelu": lambda: Case("Gelu", [x3()], becomes="Gelu"),
    "bias_gelu": lambda: Case("BiasGelu", [x3(), numbers(WIDTH)], constants=(1,), becomes="Gelu"),
    "fast_gelu": lambda: Case("FastGelu", [x3()], becomes="Gelu"),
    "fast_gelu_with_bias": lambda: Case("FastGelu", [x3(), numbers(WIDTH)], becomes="Gelu"),
    "quick_gelu": lambda: Case("QuickGelu", [x3()], becomes="Swish"),
    "silu": lambda: Case("QuickGelu", [x3()], {"alpha": 1.0}, becomes="Swish"),
}


def matmul(a: tuple[int, ...], b: tuple[int, ...], op_type: str = "FusedMatMul", **attributes: Any) -> Case:
    return Case(op_type, [numbers(*a), numbers(*b)], attributes, becomes="MatMul")


PRODUCTS: dict[str, Callable[[], Case]] = {
    "matmul": lambda: matmul((2, 3, 4), (4, 5)),
    "matmul_alpha": lambda: matmul((2, 3, 4), (2, 4, 5), alpha=0.25),
    "matmul_a": lambda: matmul((2, 4, 3), (2, 4, 5), transA=1),
    "matmul_b": lambda: matmul((2, 3, 4), (5, 4), transB=1, alpha=-2.0),
    "matmul_both": lambda: matmul((6, 2, 4, 3), (2, 5, 4), transA=1, transB=1),
    "matmul_vector": lambda: matmul((4,), (4, 5), transA=1),
    "matmul_old_name": lambda: matmul((2, 4, 3), (2, 4, 5), "TransposeMatMul", transA=1, alpha=3.0),
    "matmul_stack_a": lambda: matmul((3, 2, 6, 4), (2, 6, 4, 5), transBatchA=1),
    "matmul_stack_a_turned": lambda: matmul((4, 2, 6, 3), (2, 6, 4, 5), transBatchA=1, transA=1),
    "matmul_stack_b": lambda: matmul((2, 6, 3, 4), (4, 2, 6, 5), transBatchB=1),
    "matmul_stack_b_turned": lambda: matmul((2, 6, 3, 4), (5, 2, 6, 4), transBatchB=1, transB=1),
    "matmul_stacks": lambda: matmul((3, 2, 4), (5, 2, 4), transBatchA=1, transBatchB=1, transB=1),
    "gemm": lambda: Case("FusedGemm", [numbers(3, 4), numbers(4, 5), numbers(5)], {"activation": "Relu"}, (1, 2),
        becomes="Gemm"),
    "gemm_turned": lambda: Case("FusedGemm", [numbers(4, 3), numbers(5, 4), numbers(3, 5)], {
        "activation": "Tanh", "transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    "gemm_without_c": lambda: Case("FusedGemm", [numbers(3, 4), numbers(4, 5)], {"activation": "Sigmoid"}, (1,)),
    "convolution_residual": lambda: convolution("Relu", residual=True),
    "convolution_residual_alone": lambda: convolution("", residual=True, bias=False),
}  # fmt: skip


def convolution(activation: str, *parameters: float, residual: bool = False, bias: bool = True) -> Case:
    inputs = [numbers(2, 4, 7, 7), numbers(6, 2, 3, 3), numbers(6) if bias else None]
    attributes: dict[str, Any] = {"pads": [1, 0, 1, 0], "strides": [2, 1], "group": 2, "kernel_shape": [3, 3]}
    attributes |= {"activation": activation} if activation else {}
    attributes |= {"activation_params": list(parameters)} if parameters else {}
    if residual:
        inputs.append(numbers(2, 6, 4, 5))
    return Case("FusedConv", inputs, attributes, (1, 2), becomes="Conv")


APPLIED: dict[str, tuple[float, ...]] = {
    "Relu": (), "Sigmoid": (), "Tanh": (), "HardSwish": (1 / 6, 0.5), "LeakyRelu": (0.1,), "HardSigmoid": (0.3, 0.4),
    "Clip": (-0.2, 0.7),
}  # fmt: skip
OF_GEMM: dict[str, tuple[str, ...]] = {
    "Relu": (), "Sigmoid": (), "Tanh": (), "Softplus": (), "Softsign": (), "LeakyRelu": ("alpha",), "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Selu": ("alpha", "gamma"),
}  # fmt: skip


def normalization(op_type: str, rest: list[np.ndarray | None], **others: Any) -> Case:
    return Case(op_type, [x3(), *rest], **others)


NORMALIZATIONS: dict[str, Callable[[], Case]] = {
    "skip": lambda: normalization("SkipLayerNormalization", [x3(), numbers(WIDTH), numbers(WIDTH)], constants=(2, 3)),
    "skip_bias_and_sum": lambda: normalization("SkipLayerNormalization", [x3(), *(numbers(WIDTH) for _ in range(3))],
        attributes={"epsilon": 1e-3}, constants=(2, 3, 4), outputs=(0, 3), becomes="LayerNormalization"),
    "skip_without_beta": lambda: normalization("SkipLayerNormalization", [x3()[:1], numbers(WIDTH), None, numbers(WIDTH)]),
    "skip_of_one": lambda: normalization("SkipLayerNormalization", [numbers(TOKENS, WIDTH), numbers(WIDTH)]),
    "skip_root": lambda: normalization("SkipSimplifiedLayerNormalization", [x3(), numbers(WIDTH)], constants=(2,),
        becomes="RMSNormalization"),
    "skip_root_bias_and_sum": lambda: normalization("SkipSimplifiedLayerNormalization", [x3(), numbers(WIDTH), numbers(WIDTH)],
        attributes={"epsilon": 1e-2}, outputs=(0, 3)),
    "root": lambda: normalization("SimplifiedLayerNormalization", [numbers(WIDTH)], constants=(1,), domain="",
        attributes={"epsilon": 1e-2, "axis": -1}, becomes="RMSNormalization"),
    "root_of_two_axes": lambda: normalization("SimplifiedLayerNormalization", [numbers(TOKENS, WIDTH)], domain="",
        attributes={"axis": 1}),
    "layer": lambda: normalization("LayerNormalization", [numbers(WIDTH), numbers(WIDTH)], constants=(1, 2), domain="",
        attributes={"epsilon": 1e-2}, becomes="LayerNormalization"),
    "layer_without_bias": lambda: normalization("LayerNormalization", [numbers(TOKENS, WIDTH)], domain="",
        attributes={"axis": 1}),
}  # fmt: skip


def embedding(segments: bool = True, mask: bool = False, positions: int = 0, **others: Any) -> Case:
    return Case(
        "EmbedLayerNormalization",
        [
            whole(9, BATCH, TOKENS),
            whole(2, BATCH, TOKENS) if segments else None,
            numbers(9, WIDTH),
            numbers(TOKENS + 3, WIDTH),
            numbers(2, WIDTH) if segments else None,
            numbers(WIDTH),
            numbers(WIDTH),
            whole(3, BATCH, TOKENS) if mask else None,
            whole(TOKENS + 3, positions, TOKENS) if positions else None,
        ],
        constants=(2, 3, 4, 5, 6),
        **others,
    )


EMBEDDINGS: dict[str, Callable[[], Case]] = {
    "words_and_segments": lambda: embedding(outputs=(0, 1), mask=True, becomes="LayerNormalization"),
    "no_segments": lambda: embedding(False, outputs=(0, 1), mask=True),
    "positions": lambda: embedding(
        positions=BATCH, mask=True, outputs=(0, 1, 2), attributes={"epsilon": 1e-2}
    ),
    "one_row_of_positions": lambda: embedding(positions=1, mask=True, outputs=(0, 1)),
}


def packed(
    mask: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    value_width: int = WIDTH,
    **attributes: Any,
) -> Case:
    """Attention with a packed weight."""
    columns = 2 * WIDTH + value_width
    if value_width != WIDTH:
        attributes["qkv_hidden_sizes"] = [WIDTH, WIDTH, value_width]
    inputs = [x3(), numbers(WIDTH, columns), numbers(columns), mask, None, bias]
    return Case("Attention", inputs, {"num_heads": HEADS, **attributes}, (1, 2), becomes="Softmax")


def raw_mask(*shape: int) -> np.ndarray:
    """Zeros and ones; the first key always counts."""
    mask = whole(2, *shape)
    mask[..., 0] = 1
    return mask


ATTENTION: dict[str, Callable[[], Case]] = {
    "plain": packed,
    "scale": lambda: packed(scale=0.9),
    "value_width": lambda: packed(value_width=WIDTH + HEADS),
    "raw_mask": lambda: packed(raw_mask(BATCH, TOKENS)),
    "raw_mask_of_queries": lambda: packed(raw_mask(BATCH, TOKENS, TOKENS)),
    "filter": lambda: packed(raw_mask(BATCH, TOKENS), mask_filter_value=-2.0),
    "ends": lambda: packed(np.array([3, 5], np.int32)),
    "causal": lambda: packed(unidirectional=1),
    "causal_raw_mask": lambda: packed(raw_mask(BATCH, TOKENS), unidirectional=1),
    "causal_ends": lambda: packed(np.array([3, 5], np.int32), unidirectional=1),
    "bias": lambda: packed(None, numbers(1, HEADS, TOKENS, TOKENS)),
    "bias_of_examples": lambda: packed(raw_mask(BATCH, TOKENS), numbers(BATCH, 1, TOKENS, TOKENS)),
    "masked_row": lambda: packed(np.zeros((BATCH, TOKENS), np.int32), mask_filter_value=-3.0),
}  # fmt: skip


def separate(mask: np.ndarray | None = None, bias: bool = False, added: np.ndarray | None = None, apart: bool = False,
             value_size: int = SIZE, keys: int = KEYS, **attributes: Any) -> Case:  # fmt: skip
    """MultiHeadAttention of keys and values that are more than the queries, unless said otherwise."""
    if apart:
        key, value = numbers(BATCH, HEADS, keys, SIZE), numbers(BATCH, HEADS, keys, value_size)
    else:
        key, value = numbers(BATCH, keys, WIDTH), numbers(BATCH, keys, HEADS * value_size)
    bias_row = numbers(2 * WIDTH + HEADS * value_size) if bias else None
    inputs = [x3(), key, value, bias_row, mask, added]
    return Case("MultiHeadAttention", inputs, {"num_heads": HEADS, **attributes}, becomes="Softmax")


SEPARATE: dict[str, Callable[[], Case]] = {
    "plain": separate,
    "bias": lambda: separate(bias=True),
    "value_size": lambda: separate(bias=True, value_size=3),
    "scale": lambda: separate(scale=0.9),
    "raw_mask": lambda: separate(raw_mask(BATCH, KEYS)),
    "raw_mask_of_queries": lambda: separate(raw_mask(BATCH, TOKENS, KEYS), mask_filter_value=-4.0),
    "ends": lambda: separate(np.array([3, 6], np.int32)),
    "added": lambda: separate(raw_mask(BATCH, KEYS), added=numbers(1, HEADS, TOKENS, KEYS)),
    "causal": lambda: separate(unidirectional=1, keys=TOKENS),
    "heads_apart": lambda: separate(apart=True),
    "heads_apart_bias": lambda: separate(apart=True, bias=True),
}  # fmt: skip


def rotary(apart: bool = False, offset: bool = False, turned: int = SIZE, **attributes: Any) -> Case:
    x = numbers(BATCH, HEADS, TOKENS, SIZE) if apart else x3()
    positions = np.array([3]) if offset else whole(9, BATCH, TOKENS, dtype=np.int64)
    tables = [numbers(9, turned // 2) for _ in range(2)]
    if turned != SIZE:
        attributes |= {"rotary_embedding_dim": turned, "num_heads": HEADS}
    return Case("RotaryEmbedding", [x, positions, *tables], attributes, (2, 3))


ROTARY: dict[str, Callable[[], Case]] = {
    f"{layout}_{place}_{order}_{part}": lambda apart=apart, offset=offset, turned=turned, woven=woven: rotary(
        apart, offset, turned, interleaved=woven
    )
    for layout, apart in (("heads_apart", True), ("heads_beside", False))
    for place, offset in (("offset", True), ("positions", False))
    for order, woven in (("interleaved", 1), ("halves", 0))
    for part, turned in (("whole", SIZE), ("part", SIZE // 2))
}
CASES = {
    "activation": ACTIVATIONS,
    "product": PRODUCTS,
    "normalization": NORMALIZATIONS,
    "embedding": EMBEDDINGS,
    "attention": ATTENTION,
    "separate": SEPARATE,
    "rotary": ROTARY,
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=f"{family}-{name}")
        for family, each in CASES.items()
        for name, make in each.items()
    ],
)
def test_an_operator_is_written_out(make: Callable[[], Case], opset: int) -> None:
    case = make()
    if opset < 17 or case.op_type != "LayerNormalization":  # ONNX's own from there on
        check(case, opset)


def test_keys_between_two_places() -> None:
    """Beginnings stand behind ends, which the mask's length tells."""
    case = packed(np.array([3, 5, 1, 0], np.int32))
    case.is_closed = True
    check(case, 17)


@pytest.mark.parametrize("name", APPLIED)
def test_activations_behind_a_convolution(name: str) -> None:
    check(convolution(name, *APPLIED[name], residual=True), 17)


@pytest.mark.parametrize("name", OF_GEMM)
def test_activations_behind_a_gemm(name: str) -> None:
    given = {f"activation_{each}": 0.2 + place for place, each in enumerate(OF_GEMM[name])}
    inputs = [numbers(3, 4), numbers(4, 5), numbers(5)]
    check(Case("FusedGemm", inputs, {"activation": name, **given}, (1, 2)), 13)


def test_a_layer_keeps_its_name() -> None:
    for make in (lambda: convolution("Relu"), PRODUCTS["gemm"], PRODUCTS["matmul_alpha"]):
        canonical = check(make(), 17)
        names = {node.op_type: node.name for node in canonical.graph}
        assert "fused" in {names.get(each) for each in ("Conv", "Gemm", "MatMul")}


@pytest.mark.parametrize(
    "name", ["skip_of_one", "skip_without_beta", "skip_root", "layer_without_bias", "root_of_two_axes"]
)
def test_what_an_epsilon_is_where_the_node_does_not_say(name: str) -> None:
    """Told by inputs that are as small as its root."""
    case = NORMALIZATIONS[name]()
    for index, each in enumerate(case.inputs[: 2 if case.op_type.startswith("Skip") else 1]):
        assert each is not None
        case.inputs[index] = each * np.float32(1e-6 if case.op_type.startswith("Skip") else 3e-3)
    check(case, 14)


@pytest.mark.parametrize("opset", [11, 13, 21])
def test_forms_that_hang_on_what_stands_in_front(opset: int) -> None:
    """A product whose rank is known once the one before it is written out; a Softmax that counts axes from the front."""
    nodes = [
        helper.make_node("FusedMatMul", ["x", "w"], ["a"], "first", domain=DOMAIN, transB=1),
        helper.make_node("SimplifiedLayerNormalization", ["a", "g"], ["n"], "norm"),
        helper.make_node("FusedMatMul", ["n", "x"], ["b"], "second", domain=DOMAIN, transB=1, alpha=0.5),
        helper.make_node("Softmax", ["b"], ["s"], "softmax", axis=2),
        helper.make_node("FusedMatMul", ["s", "n"], ["y"], "third", domain=DOMAIN, transA=1),
    ]
    tensors = {"w": numbers(WIDTH, WIDTH), "g": numbers(WIDTH)}
    model = make_model(
        nodes,
        [("x", TensorProto.FLOAT, ["n", "t", WIDTH])],
        [("y", ["n", "t", WIDTH])],
        tensors,
        opset,
    )
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    canonical = canonicalize(load_model(model))
    feeds = {"x": x3()}
    expected = run(model.SerializeToString(), feeds)
    np.testing.assert_allclose(run(model_bytes(canonical), feeds)[0], expected[0], rtol=2e-5, atol=2e-5)
    kinds = Counter(node.op_type for node in canonical.graph)
    assert kinds["MatMul"] == 3 and kinds["Softmax"] == 1 and not kinds["Flatten"]
    assert {"first", "second", "third"} <= {str(node.name) for node in canonical.graph}
