"""Numbers that are small but not nothing, and numbers that lie on a grid of their own: no stage rounds them away."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper

import mpq_onnx
from mpq_onnx.arithmetic.observers.range_search import best_range
from mpq_onnx.arithmetic.quantization import WEIGHT_SCHEMES, fake_quantize

FLOAT, WIDTH = TensorProto.FLOAT, 16
RNG = np.random.default_rng(0)


def run(path: Path, x: np.ndarray) -> np.ndarray:
    """As the file says, without the kernels that round activations of float products too (docs/onnxruntime.md)."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def decibels(wanted: np.ndarray, found: np.ndarray) -> float:
    wanted, found = wanted.astype(np.float64), found.astype(np.float64)
    return float(10 * np.log10((wanted**2).sum() / max(((wanted - found) ** 2).sum(), 1e-30)))


def node(kind: str, inputs: list[str], output: str, **attributes: object) -> NodeProto:
    return helper.make_node(kind, inputs, [output], output, **attributes)


def over_a_sum(operator: str) -> list[NodeProto]:
    return [
        node("ReduceSum", ["r", "last"], "s", keepdims=1),
        node(operator, ["s", "small"], "d"),
        node("Div", ["r", "d"], "p"),
    ]


def over_a_root(operator: str) -> list[NodeProto]:
    return [
        node("Mul", ["r", "r"], "q"),
        node("ReduceMean", ["q"], "s", axes=[-1], keepdims=1),
        node(operator, ["s", "small"], "variance"),
        node("Sqrt", ["variance"], "d"),
        node("Div", ["r", "d"], "p"),
    ]


def layer_normalization(operator: str) -> list[NodeProto]:
    return [
        node("ReduceMean", ["r"], "mean", axes=[-1], keepdims=1),
        node("Sub", ["r", "mean"], "c"),
        node("Mul", ["c", "c"], "q"),
        node("ReduceMean", ["q"], "s", axes=[-1], keepdims=1),
        node(operator, ["s", "small"], "variance"),
        node("Sqrt", ["variance"], "d"),
        node("Div", ["c", "d"], "p"),
    ]


def entropy(operator: str) -> list[NodeProto]:
    return [
        node("Softmax", ["r"], "share", axis=-1),
        node(operator, ["share", "small"], "d"),
        node("Log", ["d"], "logarithm"),
        node("Mul", ["share", "logarithm"], "p"),
    ]


@pytest.mark.parametrize("make", [over_a_sum, over_a_root, layer_normalization, entropy])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-8])
@pytest.mark.parametrize("operator", ["Add", "Sub"])
def test_a_small_number_that_is_added_stays(make, epsilon: float, operator: str, tmp_path: Path) -> None:
    """Rows of zeros, as padding makes them, are divided by it."""
    sign = 1 if operator == "Add" else -1
    tensors = {
        "w": weights(RNG, 8, WIDTH),
        "v": weights(RNG, WIDTH, 4),
        "small": np.array(sign * epsilon, np.float32),
        "last": np.array([-1]),
    }
    nodes = [
        node("MatMul", ["x", "w"], "h"),
        node("Relu", ["h"], "r"),
        *make(operator),
        node("MatMul", ["p", "v"], "y"),
    ]
    model = make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", ["n", 4])], tensors, opset=13)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    x = RNG.normal(size=(128, 8)).astype(np.float32)
    x[::4] = 0
    x[1::4] *= 1e-4
    x[2::4, 1:] = 0
    if make is entropy:
        x *= 20
    wanted = run(tmp_path / "source.onnx", x)
    assert np.isfinite(wanted).all()
    assert decibels(wanted, run(tmp_path / "float.onnx", x)) > 60
    mpq_onnx.allocate(
        tmp_path / "float.onnx", {"x": x}, tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    found = run(tmp_path / "out" / "model.onnx", x)
    assert np.isfinite(found).all()
    assert (
        decibels(wanted[3::4], found[3::4]) > 14
    )  # the others are small beside a step of the input, or zero


@pytest.mark.parametrize("number", [1 + 2e-6, 1 - 3e-6])
@pytest.mark.parametrize("operator", ["Mul", "Div"])
def test_a_factor_near_one_stays(number: float, operator: str, tmp_path: Path) -> None:
    tensors = {"w": weights(RNG, 8, 4), "factor": np.array(number, np.float32)}
    nodes = [node("MatMul", ["x", "w"], "h"), node("Sin", ["h"], "s"), node(operator, ["s", "factor"], "y")]
    model = make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", ["n", 4])], tensors)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    assert operator in [each.op_type for each in onnx.load(tmp_path / "float.onnx").graph.node]


@pytest.mark.parametrize(("operator", "number"), [("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1)])
def test_what_does_nothing_goes(operator: str, number: int, tmp_path: Path) -> None:
    tensors = {"w": weights(RNG, 8, 4), "number": np.array(number, np.float32)}
    nodes = [node("MatMul", ["x", "w"], "h"), node("Sin", ["h"], "s"), node(operator, ["s", "number"], "y")]
    model = make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", ["n", 4])], tensors)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    assert [each.op_type for each in onnx.load(tmp_path / "float.onnx").graph.node] == ["MatMul", "Sin"]


def on_grid(kind: str, *shape: int) -> np.ndarray:
    lowest, highest = {"ternary": (-1, 1), "binary": (-1, 1), "few bits": (-8, 7), "sparse": (-3, 4)}[kind]
    values = RNG.integers(lowest, highest + 1, shape)
    if kind == "binary":
        values[values == 0] = 1
    if kind == "few bits":  # no channel that has all of them
        values = np.clip(values, *RNG.integers([[-7], [3]], [[-3], [7]], (2, shape[-1])))
    return (values * 0.07).astype(np.float32)


@pytest.mark.parametrize("scheme", ["int8", "asymmetric", "symmetric"])
@pytest.mark.parametrize("scales", ["channel", "tensor"])
@pytest.mark.parametrize(("kind", "bits"), [("ternary", 2), ("binary", 2), ("few bits", 4), ("sparse", 4)])
def test_weights_on_a_grid_of_their_own_stay_what_they_are(
    kind: str, bits: int, scheme: str, scales: str, tmp_path: Path
) -> None:
    tensors = {"w": on_grid(kind, 8, 24), "v": on_grid(kind, 24, 6)}
    nodes = [
        node("MatMul", ["x", "w"], "h"),
        node("Relu", ["h"], "r"),
        node("MatMul", ["r", "v"], "y"),
    ]
    model = make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", ["n", 6])], tensors)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    x = RNG.normal(size=(64, 8)).astype(np.float32)
    mpq_onnx.allocate(
        tmp_path / "float.onnx", {"x": x}, tmp_path / "out", weight_bits=bits,
        options=mpq_onnx.AllocateOptions(
            effort="quick", bit_choices=(bits,), weight_scheme=scheme, weight_scales=scales
        ),
    )  # fmt: skip
    assert decibels(run(tmp_path / "source.onnx", x), run(tmp_path / "out" / "model.onnx", x)) > 100


@settings(max_examples=60, deadline=None)
@given(
    scheme=st.sampled_from(sorted(WEIGHT_SCHEMES)),
    levels=st.integers(3, 256),
    step=st.floats(1e-6, 1e6),
    seed=st.integers(0, 2**32),
    count=st.integers(2, 300),
)
def test_the_search_finds_any_grid_that_a_scheme_can_hold(
    scheme: str, levels: int, step: float, seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    half = (levels - 1) // 2
    values = (rng.integers(-half, half + 1, (3, count)) * step).astype(np.float32)
    of_rows = np.full(3, levels, np.float32)
    low, high = best_range(values, of_rows, scheme=WEIGHT_SCHEMES[scheme])
    grid = (np.broadcast_to(each, 3)[:, None] for each in WEIGHT_SCHEMES[scheme].fit(low, high, of_rows))
    assert np.abs(fake_quantize(values, *grid) - values).max() < 1e-3 * step


def standardized(form: str) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """A network whose first nodes bring features of unlike units to one."""
    deviation = np.array([1, 1000, 1e-3, 50, 1e5, 0.1, 3, 1], np.float32)
    mean = np.array([0, 5000, 1e-2, 0, 1e6, 1, 0, 0], np.float32)
    ones = np.ones(8, np.float32)
    tensors = {"w": weights(RNG, 8, WIDTH), "v": weights(RNG, WIDTH, 4)}
    first, more = {
        "deviations": (
            [node("Sub", ["x", "m"], "a"), node("Div", ["a", "s"], "b")],
            {"m": mean, "s": deviation},
        ),
        "factors": (
            [node("Mul", ["x", "s"], "a"), node("Add", ["a", "m"], "b")],
            {"m": -mean / deviation, "s": 1 / deviation},
        ),
        "BatchNormalization": (
            [node("BatchNormalization", ["x", "ones", "zeros", "m", "s"], "b")],
            {"m": mean, "s": deviation**2, "ones": ones, "zeros": 0 * ones},
        ),
        "logarithm": (
            [node("Add", ["x", "one"], "o"), node("Log", ["o"], "b")],
            {"one": np.ones(1, np.float32)},
        ),
    }[form]
    rest = [
        node("MatMul", ["b", "w"], "h"),
        node("Relu", ["h"], "r"),
        node("MatMul", ["r", "v"], "y"),
    ]
    return [*first, *rest], {**tensors, **more}


@pytest.mark.parametrize("form", ["deviations", "factors", "BatchNormalization", "logarithm"])
def test_an_input_that_constants_normalize_is_rounded_behind_them(form: str, tmp_path: Path) -> None:
    """However it is written, in front of the first product."""
    nodes, tensors = standardized(form)
    model = make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", ["n", 4])], tensors)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    x = RNG.normal(size=(256, 8)).astype(np.float32)
    if form == "logarithm":
        x = np.exp(3 * x)
    else:
        x = x * np.array([1, 1000, 1e-3, 50, 1e5, 0.1, 3, 1], np.float32)
        x += np.array([0, 5000, 1e-2, 0, 1e6, 1, 0, 0], np.float32)
    mpq_onnx.allocate(
        tmp_path / "float.onnx", {"x": x}, tmp_path / "out", weight_bits=8, activation_bits=4,
        options=mpq_onnx.AllocateOptions(effort="quick", override=("x:activations=8",)),
    )  # fmt: skip
    first = json.loads((tmp_path / "out" / "allocation.json").read_text())["nodes"][0]
    assert first["activation_bits"] == 8  # the input's, wherever it is rounded
    assert decibels(run(tmp_path / "source.onnx", x), run(tmp_path / "out" / "model.onnx", x)) > 15


@pytest.mark.parametrize("beside", ["a second input", "rows of a table"])
def test_inputs_side_by_side_that_constants_normalize_are_rounded_behind_them(
    beside: str, tmp_path: Path
) -> None:
    """As tables with numbers and categories are read."""
    deviation = np.array([300, 1e-3, 20, 20, 20], np.float32)
    tensors = {
        "m": np.array([5000, 0.5, 0, 0, 0], np.float32), "s": deviation, "w": weights(RNG, 5, WIDTH),
        "v": weights(RNG, WIDTH, 4), "t": 20 * weights(RNG, 7, 3),
    }  # fmt: skip
    by_table = beside == "rows of a table"
    second = [node("Gather", ["t", "k"], "b")] if by_table else []
    nodes = [
        *second,
        node("Concat", ["x", "b"], "c", axis=1),
        node("Sub", ["c", "m"], "d"),
        node("Div", ["d", "s"], "e"),
        node("MatMul", ["e", "w"], "h"),
        node("Relu", ["h"], "r"),
        node("MatMul", ["r", "v"], "y"),
    ]
    other = ("k", TensorProto.INT64, ["n"]) if by_table else ("b", FLOAT, ["n", 3])
    if not by_table:
        del tensors["t"]
    model = make_model(nodes, [("x", FLOAT, ["n", 2]), other], [("y", ["n", 4])], tensors)
    onnx.save(model, tmp_path / "float.onnx")
    x = (RNG.normal(size=(256, 2)) * deviation[:2] + tensors["m"][:2]).astype(np.float32)
    b = (20 * RNG.normal(size=(256, 3))).astype(np.float32)
    data = {"x": x, **({"k": RNG.integers(0, 7, 256)} if by_table else {"b": b})}
    mpq_onnx.allocate(
        tmp_path / "float.onnx", data, tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    exact, found = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, data)[0]
        for path in (tmp_path / "float.onnx", tmp_path / "out" / "model.onnx")
    )
    assert decibels(exact, found) > 25


def table_network(form: str) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """Columns of one input: four that constants normalize, and a class that is read otherwise."""
    deviation = np.array([13, 4e4, 1e-2, 0.3], np.float32)
    tensors = {
        "m": np.array([40, 5e4, 0.5, 0], np.float32), "s": deviation, "i": np.arange(4), "last": np.array(4),
        "e": weights(RNG, 8, 4), "w": weights(RNG, 8, WIDTH), "v": weights(RNG, WIDTH, 4),
    }  # fmt: skip
    numbers, rest = [node("Gather", ["t", "i"], "n", axis=1)], "n"
    if form == "cut off before":
        tensors |= {"low": tensors["m"] - 2 * deviation, "high": tensors["m"] + 2 * deviation}
        numbers += [node("Max", ["n", "low"], "n1"), node("Min", ["n1", "high"], "n2")]
        rest = "n2"
    if form == "as a matrix":
        tensors |= {"square": np.array([-1, 2, 2]), "flat": np.array([-1, 4])}
        tensors |= {key: tensors[key].reshape(2, 2) for key in ("m", "s")}
        numbers, rest = [*numbers, node("Reshape", ["n", "square"], "q")], "q"
    scaled = [node("Sub", [rest, "m"], "c"), node("Div", ["c", "s"], "d")]
    if form == "as a matrix":
        scaled.append(node("Reshape", ["d", "flat"], "f"))
    other = {
        "raw beside": [node("Gather", ["t", "i4"], "k", axis=1), node("MatMul", ["k", "one"], "b")],
        "compared": [
            node("Greater", ["t", "m5"], "g"),
            node("Cast", ["g"], "k", to=FLOAT),
            node("MatMul", ["k", "p"], "b"),
        ],
    }.get(
        form,
        [
            node("Gather", ["t", "last"], "k", axis=1),
            node("Cast", ["k"], "z", to=TensorProto.INT64),
            node("Gather", ["e", "z"], "b"),
        ],
    )
    tensors |= {
        "i4": np.array([4]), "one": weights(RNG, 1, 4), "p": weights(RNG, 5, 4),
        "m5": np.array([40, 5e4, 0.5, 0, 4], np.float32),
    }  # fmt: skip
    joined = node("Concat", ["f" if form == "as a matrix" else "d", "b"], "x", axis=1)
    head = [node("MatMul", ["x", "w"], "h"), node("Relu", ["h"], "r"), node("MatMul", ["r", "v"], "y")]
    nodes = [*numbers, *scaled, *other, joined, *head]
    read = {name for each in nodes for name in each.input}
    return nodes, {name: array for name, array in tensors.items() if name in read}


@pytest.mark.parametrize("form", ["looked up", "raw beside", "compared", "cut off before", "as a matrix"])
def test_columns_of_one_input_are_rounded_as_they_are_read(form: str, tmp_path: Path) -> None:
    nodes, tensors = table_network(form)
    model = make_model(nodes, [("t", FLOAT, ["n", 5])], [("y", ["n", 4])], tensors)
    onnx.save(model, tmp_path / "float.onnx")
    numbers = RNG.normal(size=(256, 4)) * [13, 4e4, 1e-2, 0.3] + [40, 5e4, 0.5, 0]
    table = np.concatenate([numbers, RNG.integers(0, 8, (256, 1))], axis=1).astype(np.float32)
    mpq_onnx.allocate(
        tmp_path / "float.onnx", {"t": table}, tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    assert decibels(run(tmp_path / "float.onnx", table), run(tmp_path / "out" / "model.onnx", table)) > 25


def rounded_inside(kind: str) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """Networks whose own levels, or exponentials, other levels in front of them would spoil."""
    tensors = {"w": weights(RNG, 8, WIDTH), "v": weights(RNG, WIDTH, 4)}
    first = node("MatMul", ["x", "w"], "h")
    numbers = {"step": 0.21, "low": -8.0, "high": 7.0, "two": 2.0, "wide": -5.0, "fast": 30.0}
    tensors |= {name: np.array(value, np.float32) for name, value in numbers.items()}
    tensors["centres"] = np.linspace(-2, 2, WIDTH, dtype=np.float32)
    inside = {
        "trained quantizer": [
            node("Div", ["h", "step"], "a"),
            node("Round", ["a"], "b"),
            node("Clip", ["b", "low", "high"], "c"),
            node("Mul", ["c", "step"], "r"),
        ],
        "binary": [node("Sign", ["h"], "r")],
        "Gaussian": [
            node("Sub", ["h", "centres"], "a"),
            node("Pow", ["a", "two"], "b"),
            node("Mul", ["b", "wide"], "c"),
            node("Exp", ["c"], "r"),
        ],
        "Gaussian, negated": [
            node("Sub", ["h", "centres"], "a"),
            node("Pow", ["a", "two"], "b"),
            node("Neg", ["b"], "c"),
            node("Exp", ["c"], "r"),
        ],
        "fast sine": [node("Mul", ["h", "fast"], "a"), node("Sin", ["a"], "r")],
    }[kind]
    return [first, *inside, node("MatMul", ["r", "v"], "y")], tensors


@pytest.mark.parametrize(
    "kind", ["trained quantizer", "binary", "Gaussian", "Gaussian, negated", "fast sine"]
)
def test_nothing_is_rounded_in_front_of_what_has_levels_or_scales_of_its_own(
    kind: str, tmp_path: Path
) -> None:
    """Weights in float, the input on its grid: what is left is what the middle loses."""
    nodes, tensors = rounded_inside(kind)
    model = make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", ["n", 4])], tensors)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    x = (RNG.integers(0, 256, (256, 8)) / 64 - 2).astype(np.float32)
    x[0], x[1] = -2, 255 / 64 - 2
    mpq_onnx.allocate(
        tmp_path / "float.onnx", {"x": x}, tmp_path / "out", activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick", observer="minmax"),
    )  # fmt: skip
    assert decibels(run(tmp_path / "source.onnx", x), run(tmp_path / "out" / "model.onnx", x)) > 25
