"""Roles of values: equal networks have equal quantizers, wherever their masks, indices and images come from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import initializer, make_model, weights
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.graph.placement.sites import Sites
from mpq_onnx.graph.roles import Role, ValueRoles, value_roles
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.tensors import tensor_shapes

FLOAT, INT64, BOOL, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8
TOKENS, WIDTH = 6, 8
LOWEST = float(np.finfo(np.float32).min)
CAUSAL = np.triu(np.ones((TOKENS, TOKENS), bool), 1)
"""True where a token may not look."""
node = helper.make_node


class Parts:
    """What a test adds to a network: nodes, inputs and initializers."""

    def __init__(self, nodes=(), inputs=(), **tensors: np.ndarray) -> None:
        self.nodes, self.inputs, self.tensors = list(nodes), list(inputs), tensors


def attention(mask: Parts, end: str = "Softmax") -> onnx.ModelProto:
    """One head of attention over x [n, TOKENS, WIDTH]; `mask` makes "masked" of "scaled"."""
    rng = np.random.default_rng(0)
    tensors = {name: weights(rng, WIDTH, WIDTH) for name in ("wq", "wk", "wv")}
    tensors |= {"wc": weights(rng, WIDTH, 3) * 3, "scale": np.array(0.35, np.float32), "axes": np.array([1])}
    ends = [node("Softmax", ["masked"], ["attention"], "softmax", axis=-1)]
    if end == "LogSoftmax":
        ends = [
            node("LogSoftmax", ["masked"], ["logs"], "log_softmax", axis=-1),
            node("Exp", ["logs"], ["attention"], "softmax"),
        ]
    nodes = [
        node("MatMul", ["x", "wq"], ["q"], "query"),
        node("MatMul", ["x", "wk"], ["k"], "key"),
        node("MatMul", ["x", "wv"], ["v"], "value"),
        node("Transpose", ["k"], ["kt"], "turn", perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"], "scores"),
        node("Mul", ["scores", "scale"], ["scaled"], "scaling"),
        *mask.nodes,
        *ends,
        node("MatMul", ["attention", "v"], ["mixed"], "mix"),
        node("ReduceMean", ["mixed", "axes"], ["pooled"], "pool", keepdims=0),
        node("MatMul", ["pooled", "wc"], ["logits"], "classifier"),
    ]
    return make_model(
        nodes,
        [("x", FLOAT, ["n", TOKENS, WIDTH]), *mask.inputs],
        [("logits", ["n", 3])],
        {**tensors, **mask.tensors},
        opset=20,
    )


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def added(values: np.ndarray) -> Parts:
    return Parts([node("Add", ["scaled", "mask"], ["masked"], "lay")], mask=values.astype(np.float32))


GIVEN = ("mask", FLOAT, ["n", TOKENS, TOKENS])
SQUARE_OF_SHAPE = [
    node("Shape", ["x"], ["dims"], "dims"),
    node("Gather", ["dims", "one"], ["count"], "count"),
    node("Range", ["first", "count", "step"], ["places"], "places"),
    node("Unsqueeze", ["places", "zero"], ["columns"], "columns"),
    node("Unsqueeze", ["places", "last"], ["rows"], "rows"),
    node("Greater", ["columns", "rows"], ["hidden"], "hidden"),
]
SQUARE_TENSORS = {
    "one": np.array(1), "first": np.array(0), "step": np.array(1), "zero": np.array([0]), "last": np.array([1]),
}  # fmt: skip

MASKS: dict[str, Parts] = {
    "float input": Parts([node("Add", ["scaled", "mask"], ["masked"], "lay")], [GIVEN]),
    "float input, inverted": Parts(
        [
            node("Sub", ["unit", "mask"], ["dropped"], "invert"),
            node("Mul", ["dropped", "never"], ["penalty"], "penalty"),
            node("Add", ["penalty", "scaled"], ["masked"], "lay"),
        ],
        [GIVEN], unit=number(1), never=number(-10000),
    ),
    "integer input": Parts(
        [
            node("Cast", ["mask"], ["kept"], "kept", to=FLOAT),
            node("Sub", ["unit", "kept"], ["dropped"], "invert"),
            node("Mul", ["dropped", "never"], ["penalty"], "penalty"),
            node("Add", ["scaled", "penalty"], ["masked"], "lay"),
        ],
        [("mask", INT64, ["n", TOKENS, TOKENS])], unit=number(1), never=number(-10000),
    ),
    "boolean input": Parts(
        [node("Where", ["mask", "scaled", "never"], ["masked"], "lay")],
        [("mask", BOOL, ["n", TOKENS, TOKENS])], never=number(-np.inf),
    ),
    "-1e9": added(np.where(CAUSAL, -1e9, 0)),
    "lowest float": added(np.where(CAUSAL, LOWEST, 0)),
    "-inf": added(np.where(CAUSAL, -np.inf, 0)),
    "-100, as windows have": added(np.where(CAUSAL, -100, 0)),
    "-10000 with a bias folded in": added(np.where(CAUSAL, -10000, np.random.default_rng(3).normal(size=(TOKENS, TOKENS)))),
    "subtracted": Parts(
        [node("Sub", ["scaled", "mask"], ["masked"], "lay")], mask=np.where(CAUSAL, 1e4, 0).astype(np.float32)
    ),
    "where -inf": Parts([node("Where", ["hide", "never", "scaled"], ["masked"], "lay")], hide=CAUSAL, never=number(-np.inf)),
    "where -1e9": Parts([node("Where", ["keep", "scaled", "never"], ["masked"], "lay")], keep=~CAUSAL, never=number(-1e9)),
    "triangle of a shape": Parts(
        [
            node("Shape", ["scores"], ["dims"], "dims"),
            node("ConstantOfShape", ["dims"], ["full"], "full", value=initializer("never", np.array([-1e9], np.float32))),
            node("Trilu", ["full", "above"], ["triangle"], "triangle", upper=1),
            node("Add", ["scaled", "triangle"], ["masked"], "lay"),
        ],
        above=np.array(1),
    ),
    "compared positions": Parts(
        [*SQUARE_OF_SHAPE, node("Where", ["hidden", "never", "scaled"], ["masked"], "lay")],
        never=number(LOWEST), **SQUARE_TENSORS,
    ),
    "additive from positions": Parts(
        [
            *SQUARE_OF_SHAPE,
            node("Where", ["hidden", "never", "nothing"], ["triangle"], "triangle"),
            node("Unsqueeze", ["triangle", "zero"], ["batched"], "batched"),
            node("Add", ["scaled", "batched"], ["masked"], "lay"),
        ],
        never=number(-np.inf), nothing=number(0), **SQUARE_TENSORS,
    ),
    "reshaped after it": Parts(
        [
            node("Add", ["scaled", "mask"], ["laid"], "lay"),
            node("Reshape", ["laid", "flat"], ["flattened"], "flatten"),
            node("Reshape", ["flattened", "square"], ["masked"], "unflatten"),
        ],
        mask=np.where(CAUSAL, -1e9, 0).astype(np.float32),
        flat=np.array([0, TOKENS * TOKENS]), square=np.array([0, TOKENS, TOKENS]),
    ),
    "limited to the lowest float": Parts(
        [
            node("Add", ["scaled", "mask"], ["laid"], "lay"),
            node("Max", ["laid", "lowest"], ["masked"], "limit"),
        ],
        mask=np.where(CAUSAL, LOWEST, 0).astype(np.float32), lowest=number(LOWEST),
    ),
}  # fmt: skip


def analysed(model: onnx.ModelProto) -> tuple[ir.Model, ValueRoles]:
    canonical = canonicalize(ir.serde.deserialize_model(model))
    return canonical, value_roles(canonical)


def sites(model: onnx.ModelProto, folder: Path, placement: str = "all") -> Sites:
    path = folder / "network.onnx"
    onnx.save(model, path)
    base = load_float_model(path)
    return find_sites(
        base.model, tensor_shapes(base.model, base.open_data("random?count=2"), "cpu"), placement
    )


def quantized(model: onnx.ModelProto, folder: Path, placement: str = "all") -> set[str]:
    """Names of the nodes whose outputs are quantized, and of inputs."""
    return {site.node for site in sites(model, folder, placement).activations}


ATTENTION = {"x", "query", "key", "value", "scaling", "softmax", "mix", "pool", "classifier"}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_masks_wherever_they_come_from(kind: str, tmp_path: Path) -> None:
    assert quantized(attention(MASKS[kind]), tmp_path) == ATTENTION


@pytest.mark.parametrize("kind", ["float input", "-inf", "triangle of a shape"])
def test_masked_log_softmax(kind: str, tmp_path: Path) -> None:
    assert quantized(attention(MASKS[kind], "LogSoftmax"), tmp_path) == ATTENTION


def test_a_bias_of_positions_is_no_mask(tmp_path: Path) -> None:
    bias = np.random.default_rng(1).normal(size=(TOKENS, TOKENS)) * 3
    slopes = -0.5 * np.abs(np.arange(TOKENS) - np.arange(TOKENS)[:, None])
    for values in (bias, slopes, np.full((TOKENS, TOKENS), -2e4)):
        assert quantized(attention(added(values)), tmp_path) == ATTENTION | {"lay"}
    assert quantized(attention(added(np.zeros((TOKENS, TOKENS)))), tmp_path) == ATTENTION  # adds nothing


@pytest.mark.parametrize("first", ["bias", "mask"])
@pytest.mark.parametrize("made", ["constant", "computed"])
def test_a_bias_beside_a_mask(first: str, made: str, tmp_path: Path) -> None:
    steps = [
        node("Add", ["scaled", "bias"], ["biased"], "bias"),
        node("Add", ["biased", "mask"], ["masked"], "lay"),
    ]
    if first == "mask":
        steps = [
            node("Add", ["scaled", "mask"], ["laid"], "lay"),
            node("Add", ["laid", "bias"], ["masked"], "bias"),
        ]
    rng = np.random.default_rng(2)
    mask = Parts(steps, mask=np.where(CAUSAL, -1e9, 0).astype(np.float32))
    wanted = ATTENTION | ({"bias"} if first == "bias" else set())
    if made == "constant":
        mask.tensors["bias"] = rng.normal(size=(TOKENS, TOKENS)).astype(np.float32)
    else:
        mask.nodes.insert(0, node("MatMul", ["x", "wb"], ["bias"], "make_bias"))
        mask.tensors["wb"] = weights(rng, WIDTH, TOKENS)
        wanted |= {"make_bias"}
    assert quantized(attention(mask), tmp_path) == wanted


def test_masked_maximum_and_masked_outputs(tmp_path: Path) -> None:
    """A mask is no range's business without a softmax either: token maxima, logits of actions that are not allowed."""
    tensors = {"w": weights(np.random.default_rng(0), WIDTH, 5), "never": number(-1e9), "axes": np.array([1])}
    given = [("x", FLOAT, ["n", TOKENS, WIDTH]), ("mask", BOOL, ["n", TOKENS, 5])]
    laid = [node("MatMul", ["x", "w"], ["h"], "linear"), node("Where", ["mask", "h", "never"], ["y"], "lay")]
    assert quantized(make_model(laid, given, [("y", ["n", TOKENS, 5])], tensors, 20), tmp_path) == {
        "x",
        "linear",
    }
    top = [*laid, node("ReduceMax", ["y", "axes"], ["top"], "top", keepdims=0)]
    assert quantized(make_model(top, given, [("top", ["n", 5])], tensors, 20), tmp_path) == {
        "x",
        "linear",
        "top",
    }


def test_quantized_files_agree_whatever_the_mask_is_made_of(tmp_path: Path) -> None:
    """The mask as an input and as infinities in the graph: the same calibration, the same numbers from the files."""
    x = np.random.default_rng(5).normal(size=(64, TOKENS, WIDTH)).astype(np.float32)
    mask = np.broadcast_to(np.where(CAUSAL, -1e9, 0), (64, TOKENS, TOKENS)).astype(np.float32)
    answers = []
    for kind, feeds in (
        ("float input", {"x": x, "mask": mask}),
        ("-inf", {"x": x}),
        ("compared positions", {"x": x}),
    ):
        folder = tmp_path / kind.replace(" ", "_")
        onnx.save(attention(MASKS[kind]), tmp_path / "float.onnx")
        np.savez(tmp_path / "data.npz", **feeds)
        result = mpq_onnx.allocate(
            tmp_path / "float.onnx", f"npz:{tmp_path / 'data.npz'}", folder,
            validation=f"npz:{tmp_path / 'data.npz'}", weight_bits=8, activation_bits=8,
            options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False),
        )  # fmt: skip
        assert result.mirror_check.unoptimized_sqnr > 40
        session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        answers.append(session.run(None, feeds)[0])
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], atol=1e-5)


def image_network(kind: str) -> onnx.ModelProto:
    """Normalization, Conv, Relu, pool, classifier: of a float image, or of one of bytes."""
    rng = np.random.default_rng(0)
    tensors = {
        "mean": np.full((1, 3, 1, 1), 120, np.float32), "std": np.full((1, 3, 1, 1), 58, np.float32),
        "w": weights(rng, 4, 3, 3, 3), "w2": weights(rng, 5, 4), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "sizes": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    steps = {
        "float": [node("Identity", ["image"], ["pixels"])],
        "bytes": [node("Cast", ["image"], ["pixels"], "cast", to=FLOAT)],
        "int32": [node("Cast", ["image"], ["pixels"], "cast", to=FLOAT)],
        "channels last": [
            node("Transpose", ["image"], ["turned"], "turn", perm=[0, 3, 1, 2]),
            node("Cast", ["turned"], ["pixels"], "cast", to=FLOAT),
        ],
        "padded and resized": [
            node("Pad", ["image", "pads"], ["padded"], "pad"),
            node("Resize", ["padded", "", "sizes"], ["resized"], "resize", mode="nearest"),
            node("Cast", ["resized"], ["pixels"], "cast", to=FLOAT),
        ],
    }[kind]
    dtypes = {"float": FLOAT, "int32": TensorProto.INT32}
    shape = ["n", 8, 8, 3] if kind == "channels last" else ["n", 3, 8, 8]
    nodes = [
        *steps,
        node("Sub", ["pixels", "mean"], ["centred"], "centre"),
        node("Div", ["centred", "std"], ["normal"], "divide"),
        node("Conv", ["normal", "w"], ["c"], "conv"),
        node("Relu", ["c"], ["r"], "relu"),
        node("GlobalAveragePool", ["r"], ["g"], "gap"),
        node("Flatten", ["g"], ["f"], "flatten"),
        node("Gemm", ["f", "w2"], ["logits"], "classifier", transB=1),
    ]
    return make_model(nodes, [("image", dtypes.get(kind, UINT8), shape)], [("logits", ["n", 5])], tensors, 20)


@pytest.mark.parametrize("placement", ["all", "gemm", "before-activation"])
@pytest.mark.parametrize("kind", ["bytes", "int32", "channels last", "padded and resized"])
def test_images_are_signals_whatever_their_type(kind: str, placement: str, tmp_path: Path) -> None:
    found, wanted = (sites(image_network(each), tmp_path, placement) for each in (kind, "float"))
    assert {site.node for site in found.activations} == {site.node for site in wanted.activations} - {"image"}
    assert found.weights[0].source == wanted.weights[0].source == "normal"


@pytest.mark.parametrize("placement", ["all", "gemm"])
def test_bytes_that_a_convolution_reads_have_the_width_of_inputs(placement: str, tmp_path: Path) -> None:
    tensors = {"w": weights(np.random.default_rng(0), 4, 3, 3, 3)}
    nodes = [
        node("Cast", ["image"], ["pixels"], "cast", to=FLOAT),
        node("Conv", ["pixels", "w"], ["c"], "conv"),
        node("Relu", ["c"], ["y"], "relu"),
    ]
    model = make_model(nodes, [("image", UINT8, ["n", 3, 8, 8])], [("y", ["n", 4, 6, 6])], tensors)
    found = sites(model, tmp_path, placement)
    assert (found.activations[0].node, found.activations[0].fixed_bits) == ("cast", 8)
    assert found.weights[0].source == "pixels"
    assert value_roles(load_float_model(tmp_path / "network.onnx").model).roles["image"] is Role.SIGNAL


LOOKUPS: dict[str, list[onnx.NodeProto]] = {
    "cast": [node("Cast", ["ids"], ["rows"], "cast", to=INT64)],
    "rounded": [
        node("Floor", ["ids"], ["whole"], "floor"),
        node("Clip", ["whole", "lowest", "highest"], ["inside"], "clip"),
        node("Cast", ["inside"], ["rows"], "cast", to=INT64),
    ],
    "shifted": [
        node("Mul", ["ids", "two"], ["doubled"], "double"),
        node("Unsqueeze", ["doubled", "axis"], ["apart"], "apart"),
        node("Squeeze", ["apart", "axis"], ["together"], "together"),
        node("Cast", ["together"], ["rows"], "cast", to=INT64),
    ],
}


def lookup(kind: str, *more: onnx.NodeProto, output: str = "h") -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    tensors = {
        "table": weights(rng, 40, WIDTH), "w": weights(rng, WIDTH, 4), "lowest": number(0), "highest": number(19),
        "two": number(2), "axis": np.array([1]), "wi": weights(rng, TOKENS, 4), "axes": np.array([1]),
    }  # fmt: skip
    nodes = [
        *LOOKUPS[kind],
        node("Gather", ["table", "rows"], ["e"], "embedding"),
        node("ReduceMean", ["e", "axes"], ["m"], "mean", keepdims=0),
        node("MatMul", ["m", "w"], ["h"], "linear"),
        *more,
    ]
    return make_model(nodes, [("ids", FLOAT, ["n", TOKENS])], [(output, ["n", 4])], tensors, 20)


@pytest.mark.parametrize("kind", LOOKUPS)
def test_float_indices_stay_exact(kind: str, tmp_path: Path) -> None:
    model = lookup(kind)
    assert quantized(model, tmp_path) == {"embedding", "mean", "linear"}
    assert analysed(model)[1].roles["ids"] is Role.INDEX


@pytest.mark.parametrize("kind", LOOKUPS)
def test_an_index_that_is_a_signal_too_is_quantized_for_its_data_alone(kind: str, tmp_path: Path) -> None:
    more = [node("MatMul", ["ids", "wi"], ["direct"], "direct"), node("Add", ["h", "direct"], ["y"], "sum")]
    found = sites(lookup(kind, *more, output="y"), tmp_path)
    assert {site.node for site in found.activations} == {
        "ids",
        "embedding",
        "mean",
        "linear",
        "direct",
        "sum",
    }
    assert found.readers == {"ids": ("direct",)}


def test_token_numbers_that_are_compared_are_indices(tmp_path: Path) -> None:
    """One-hot by comparison: the numbers are exact, the ones and zeros that a product reads have a quantizer."""
    tensors = {
        "range": np.arange(9)[None, None],
        "w": weights(np.random.default_rng(0), 9, 4),
        "last": np.array([2]),
    }
    nodes = [
        node("Unsqueeze", ["ids", "last"], ["column"], "column"),
        node("Equal", ["column", "range"], ["hot"], "equal"),
        node("Cast", ["hot"], ["ones"], "cast", to=FLOAT),
        node("MatMul", ["ones", "w"], ["y"], "linear"),
    ]
    model = make_model(nodes, [("ids", INT64, ["n", TOKENS])], [("y", ["n", TOKENS, 4])], tensors)
    assert quantized(model, tmp_path) == {"cast", "linear"}
    assert analysed(model)[1].roles["ids"] is Role.INDEX


@pytest.mark.parametrize("kind", ["input", "range"])
def test_positions_stay_exact_up_to_their_sine(kind: str, tmp_path: Path) -> None:
    """Rotary angles: positions, frequencies and their product have no levels to lose."""
    tensors = {
        "frequencies": (1e-1 ** np.arange(4))[None].astype(np.float32), "w": weights(np.random.default_rng(0), WIDTH, 4),
        "wo": weights(np.random.default_rng(1), 4, 3), **SQUARE_TENSORS,
    }  # fmt: skip
    steps = {
        "input": [
            node("Cast", ["places"], ["f"], "cast", to=FLOAT),
            node("Unsqueeze", ["f", "two"], ["column"], "column"),
        ],
        "range": [
            *SQUARE_OF_SHAPE[:3],
            node("Cast", ["places"], ["f"], "cast", to=FLOAT),
            node("Unsqueeze", ["f", "last"], ["column"], "column"),
        ],
    }[kind]
    tensors["two"] = np.array([2])
    nodes = [
        *steps,
        node("MatMul", ["column", "frequencies"], ["angles"], "angles"),
        node("Cos", ["angles"], ["cosine"], "cosine"),
        node("MatMul", ["x", "w"], ["q"], "query"),
        node("Mul", ["q", "cosine"], ["turned"], "turn"),
        node("MatMul", ["turned", "wo"], ["y"], "out"),
    ]
    given = [("x", FLOAT, ["n", TOKENS, WIDTH])]
    given += [("places", INT64, ["n", TOKENS])] if kind == "input" else []
    found = sites(make_model(nodes, given, [("y", ["n", TOKENS, 3])], tensors, 20), tmp_path)
    assert {site.node for site in found.activations} - {"cosine"} == {"x", "query", "turn", "out"}
    assert {site.tensor for site in found.weights} == {"w", "wo"}


def detector(
    end: Callable[[], list[onnx.NodeProto]], outputs: dict[str, list], **tensors: np.ndarray
) -> onnx.ModelProto:
    """A backbone with a head for boxes (hundreds of pixels) and one for scores."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", ["image", "w"], ["c"], "stem", pads=[1] * 4),
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "wb"], ["boxes"], "boxes"),
        node("Conv", ["r", "ws"], ["logits"], "logits"),
        node("Sigmoid", ["logits"], ["scores"], "scores"),
        *end(),
    ]
    tensors |= {
        "w": weights(rng, 6, 3, 3, 3),
        "wb": weights(rng, 4, 6, 1, 1) * 100,
        "ws": weights(rng, 2, 6, 1, 1),
    }
    return make_model(nodes, [("image", FLOAT, ["n", 3, 8, 8])], list(outputs.items()), tensors, 20)


HEADS = {"image", "relu", "boxes", "scores"}


def test_joined_outputs_have_the_quantizers_of_their_parts(tmp_path: Path) -> None:
    flat, rows = np.array([0, 6, -1]), ["n", 64, 6]
    apart = detector(list, {"boxes": ["n", 4, 8, 8], "scores": ["n", 2, 8, 8]})
    joined = detector(
        lambda: [
            node("Concat", ["boxes", "scores"], ["joined"], "join", axis=1),
            node("Reshape", ["joined", "flat"], ["flattened"], "flatten"),
            node("Transpose", ["flattened"], ["rows"], "turn", perm=[0, 2, 1]),
        ],
        {"rows": rows}, flat=flat,
    )  # fmt: skip
    levels = detector(
        lambda: [
            node("Concat", ["boxes", "scores"], ["joined"], "join", axis=1),
            node("Reshape", ["joined", "flat"], ["flattened"], "flatten"),
            node("Concat", ["flattened", "flattened"], ["levels"], "levels", axis=2),
            node("Transpose", ["levels"], ["rows"], "turn", perm=[0, 2, 1]),
        ],
        {"rows": ["n", 128, 6]}, flat=flat,
    )  # fmt: skip
    for model in (apart, joined, levels):
        assert quantized(model, tmp_path) == HEADS


def test_boxes_that_are_decoded_after_a_join_keep_their_own_scale(tmp_path: Path) -> None:
    def decoded() -> list[onnx.NodeProto]:
        return [
            node("Concat", ["boxes", "scores"], ["joined"], "join", axis=1),
            node("Slice", ["joined", "zero", "four", "channel"], ["part"], "boxes_again"),
            node("Slice", ["joined", "four", "six", "channel"], ["rest"], "scores_again"),
            node("Mul", ["part", "stride"], ["scaled"], "decode"),
            node("Concat", ["scaled", "rest"], ["y"], "join_again", axis=1),
        ]

    ends = {"zero": np.array([0]), "four": np.array([4]), "six": np.array([6]), "channel": np.array([1])}
    model = detector(decoded, {"y": ["n", 6, 8, 8]}, stride=number(8), **ends)
    assert quantized(model, tmp_path) == HEADS


FACTORS = np.array([8, 8, 8, 8, 0.5, 0.5], np.float32).reshape(1, 6, 1, 1)
BY_PART: dict[str, Callable[[], list[onnx.NodeProto]]] = {
    "factor a channel": lambda: [node("Mul", ["joined", "factors"], ["y"], "step")],
    "one factor": lambda: [node("Div", ["joined", "half"], ["y"], "step")],
    "shift, then factor": lambda: [
        node("Add", ["joined", "half"], ["s"], "shift"),
        node("Mul", ["factors", "s"], ["y"], "step"),
    ],
    "behind other shapes": lambda: [
        node("Transpose", ["joined"], ["t"], "turn", perm=[0, 2, 3, 1]),
        node("Slice", ["t", "first", "last", "axis"], ["part"], "part"),
        node("Relu", ["part"], ["positive"], "step"),
        node("Mul", ["positive", "half"], ["y"], "scale"),
    ],
}


def scaled_detector(steps: list[onnx.NodeProto]) -> onnx.ModelProto:
    ends = {"first": np.array([1]), "last": np.array([8]), "axis": np.array([1])}
    return detector(
        lambda: [node("Concat", ["boxes", "scores"], ["joined"], "join", axis=1), *steps],
        {"y": ["n", "a", "b", "c"]}, factors=FACTORS, half=number(0.5),
        mix=weights(np.random.default_rng(1), 2, 6, 1, 1), **ends,
    )  # fmt: skip


@pytest.mark.parametrize("placement", ["all", "before-activation"])
@pytest.mark.parametrize("steps", BY_PART)
def test_constants_behind_a_join_leave_the_parts_their_scales(
    steps: str, placement: str, tmp_path: Path
) -> None:
    found = sites(scaled_detector(BY_PART[steps]()), tmp_path, placement)
    nodes = {site.node for site in found.activations}
    assert {"boxes", "scores"} <= nodes and not nodes & {"join", "step", "shift", "scale"}


@pytest.mark.parametrize("between", [[], [node("AveragePool", ["s"], ["p"], "pool", kernel_shape=[2, 2])]])
def test_a_multiplier_behind_the_constants_reads_one_scale(
    between: list[onnx.NodeProto], tmp_path: Path
) -> None:
    steps = [
        node("Mul", ["joined", "factors"], ["s"], "step"),
        *between,
        node("Conv", ["p" if between else "s", "mix"], ["y"], "mix"),
    ]
    pools = {"pool"} if between else set()
    assert quantized(scaled_detector(steps), tmp_path) == HEADS | pools | {"step", "mix"}


def test_a_sigmoid_behind_a_join_has_a_quantizer(tmp_path: Path) -> None:
    model = scaled_detector([node("Sigmoid", ["joined"], ["y"], "step")])
    assert quantized(model, tmp_path) == HEADS | {"step"}


@pytest.mark.parametrize("steps", [None, "factor a channel"])
def test_scores_survive_beside_boxes(steps: str | None, tmp_path: Path) -> None:
    """The joined output of a quantized file: every part as good as it is on its own."""
    model = scaled_detector(BY_PART[steps]() if steps else [node("Identity", ["joined"], ["y"], "same")])
    onnx.save(model, tmp_path / "float.onnx")
    mpq_onnx.allocate(
        tmp_path / "float.onnx", "random?count=32", tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest"),
    )  # fmt: skip
    feeds = {"image": np.random.default_rng(9).normal(size=(16, 3, 8, 8)).astype(np.float32)}
    wanted, found = (
        ort.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for name in ("float.onnx", "out/model.onnx")
    )
    for part in (slice(0, 4), slice(4, 6)):
        noise = ((wanted - found)[:, part] ** 2).sum()
        assert 10 * np.log10((wanted[:, part] ** 2).sum() / noise) > 25


def test_a_multiplier_reads_one_scale(tmp_path: Path) -> None:
    def mixed() -> list[onnx.NodeProto]:
        return [
            node("Concat", ["boxes", "scores"], ["joined"], "join", axis=1),
            node("MaxPool", ["joined"], ["pooled"], "pool", kernel_shape=[2, 2]),
            node("Conv", ["pooled", "wm"], ["y"], "mix"),
        ]

    model = detector(mixed, {"y": ["n", 2, 7, 7]}, wm=weights(np.random.default_rng(1), 2, 6, 1, 1))
    found = sites(model, tmp_path)
    assert {site.node for site in found.activations} == HEADS | {"join", "mix"}
    assert [site.source for site in found.weights][-1] == "joined"


def chain(*steps: onnx.NodeProto, **tensors: np.ndarray) -> onnx.ModelProto:
    """Conv, `steps` from "a" to "b", Conv."""
    rng = np.random.default_rng(0)
    tensors |= {"w": weights(rng, 4, 3, 3, 3), "w2": weights(rng, 2, 4, 1, 1)}
    nodes = [node("Conv", ["image", "w"], ["a"], "first"), *steps, node("Conv", ["b", "w2"], ["y"], "second")]
    return make_model(nodes, [("image", FLOAT, ["n", 3, 8, 8])], [("y", ["n", "c", "h", "v"])], tensors, 20)


PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1])
DOUBLE = np.array([1, 1, 2, 2], np.float32)
STEPS: dict[str, tuple[bool, list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "nearest": (True, [node("Resize", ["a", "", "s"], ["b"], "step", mode="nearest")], {"s": DOUBLE}),
    "linear": (False, [node("Resize", ["a", "", "s"], ["b"], "step", mode="linear")], {"s": DOUBLE}),
    "zeros": (True, [node("Pad", ["a", "p"], ["b"], "step")], {"p": PADS}),
    "ones": (False, [node("Pad", ["a", "p", "one"], ["b"], "step")], {"p": PADS, "one": number(1)}),
    "reflected": (True, [node("Pad", ["a", "p"], ["b"], "step", mode="reflect")], {"p": PADS}),
    "reversed": (
        True,
        [node("Slice", ["a", "from", "to", "axis", "back"], ["b"], "step")],
        {"from": np.array([-1]), "to": np.array([-99]), "axis": np.array([3]), "back": np.array([-1])},
    ),
    "picked": (True, [node("Gather", ["a", "rows"], ["b"], "step", axis=2)], {"rows": np.array([0, 2, 4])}),
    "running sum": (False, [node("CumSum", ["a", "axis"], ["b"], "step")], {"axis": np.array(3)}),
    "larger of two": (False, [node("Max", ["a", "t"], ["b"], "step")], {"t": np.full((4, 1, 1), 0.25, np.float32)}),
    "triangle": (False, [node("Trilu", ["a"], ["b"], "step")], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_what_passes_values_on_shares_their_quantizer(name: str, tmp_path: Path) -> None:
    passes, steps, tensors = STEPS[name]
    found = sites(chain(*steps, **tensors), tmp_path)
    assert {site.node for site in found.activations} == {"image", "first", "second"} | (
        set() if passes else {"step"}
    )
    assert found.weights[1].source == ("a" if passes else "b")


@pytest.mark.parametrize("fill", [-np.inf, LOWEST])
def test_a_maximum_behind_a_pad_that_it_never_picks(fill: float, tmp_path: Path) -> None:
    steps = [
        node("Pad", ["a", "p", "fill"], ["padded"], "pad"),
        node("MaxPool", ["padded"], ["b"], "top", kernel_shape=[3, 3]),
    ]
    found = sites(chain(*steps, p=PADS, fill=number(fill)), tmp_path)
    assert {site.node for site in found.activations} == {"image", "first", "top", "second"}
    assert found.weights[1].source == "b"


@pytest.mark.parametrize("function", ["Sigmoid", "HardSwish", "Gelu"])
def test_one_quantizer_after_an_activation_function(function: str, tmp_path: Path) -> None:
    model = chain(node(function, ["a"], ["b"], "act"))
    assert quantized(model, tmp_path) == {"image", "act", "second"}
    assert quantized(model, tmp_path, "before-activation") == {"image", "first", "act", "second"}


def test_one_quantizer_after_a_scale_and_a_shift(tmp_path: Path) -> None:
    vector = np.linspace(0.5, 2, 4, dtype=np.float32).reshape(1, 4, 1, 1)
    steps = [
        node("MaxPool", ["a"], ["top"], "top", kernel_shape=[2, 2]),
        node("Concat", ["top", "top"], ["twice"], "join", axis=2),
        node("Mul", ["twice", "by"], ["scaled"], "scale"),
        node("Add", ["scaled", "to"], ["b"], "shift"),
    ]
    found = quantized(chain(*steps, by=vector, to=vector), tmp_path)
    assert found == {"image", "first", "shift", "second"}
