"""Equal networks, written differently, have equal sites, costs, widths and results."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.runs.options import AllocateOptions

TOKENS, WIDTH, HIDDEN, CLASSES = 6, 10, 12, 4
RNG = np.random.default_rng(0)
W1, B1 = weights(RNG, HIDDEN, WIDTH), RNG.standard_normal(HIDDEN).astype(np.float32) * 0.3
W2, B2 = weights(RNG, CLASSES, HIDDEN) * 3, RNG.standard_normal(CLASSES).astype(np.float32) * 0.3
Layers = tuple[list[onnx.NodeProto], dict[str, np.ndarray]]


def by_tokens() -> Layers:
    """MatMul on [n, T, C]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m"], "first"),
        helper.make_node("Add", ["m", "b1"], ["h"], "first_bias"),
    ]
    return nodes, {"w1": W1.T.copy(), "b1": B1}


def by_rows() -> Layers:
    """Reshape to rows, Gemm, Reshape back."""
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["r"], "merge"),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["g"], "first", transB=1),
        helper.make_node("Reshape", ["g", "back"], ["h"], "split"),
    ]
    shapes = {"rows": np.array([-1, WIDTH], np.int64), "back": np.array([-1, TOKENS, HIDDEN], np.int64)}
    return nodes, {"w1": W1, "b1": B1, **shapes}


def by_rows_time_first() -> Layers:
    """Rows of the tokens of all examples, one token after the other."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "time_first", perm=[1, 0, 2]),
        helper.make_node("Reshape", ["t", "rows"], ["r"], "merge"),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["g"], "first", alpha=0.5, beta=2.0),
        helper.make_node("Reshape", ["g", "back"], ["s"], "split"),
        helper.make_node("Transpose", ["s"], ["h"], "batch_first", perm=[1, 0, 2]),
    ]
    shapes = {"rows": np.array([-1, WIDTH], np.int64), "back": np.array([TOKENS, -1, HIDDEN], np.int64)}
    return nodes, {"w1": W1.T * 2, "b1": B1 / 2, **shapes}


def by_weight_on_the_left() -> Layers:
    """W x with the tokens as columns."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "columns", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["w1", "t"], ["m"], "first"),
        helper.make_node("Add", ["m", "b1"], ["a"], "first_bias"),
        helper.make_node("Transpose", ["a"], ["h"], "rows", perm=[0, 2, 1]),
    ]
    return nodes, {"w1": W1, "b1": B1[:, None]}


def by_convolution() -> Layers:
    """A convolution of one tap over the tokens."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "channels_first", perm=[0, 2, 1]),
        helper.make_node("Conv", ["t", "w1", "b1"], ["c"], "first"),
        helper.make_node("Transpose", ["c"], ["h"], "channels_last", perm=[0, 2, 1]),
    ]
    return nodes, {"w1": W1[:, :, None], "b1": B1}


def by_einsum() -> Layers:
    """An Einsum whose weight has its output channels first."""
    nodes = [
        helper.make_node("Einsum", ["x", "w1"], ["m"], "first", equation="nti,oi->nto"),
        helper.make_node("Add", ["m", "b1"], ["h"], "first_bias"),
    ]
    return nodes, {"w1": W1, "b1": B1}


def by_einsum_of_moved_axes() -> Layers:
    """The channels of the data before its tokens, those of the result too."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "columns", perm=[0, 2, 1]),
        helper.make_node("Einsum", ["t", "w1"], ["m"], "first", equation="nit,io->not"),
        helper.make_node("Add", ["m", "b1"], ["a"], "first_bias"),
        helper.make_node("Transpose", ["a"], ["h"], "rows", perm=[0, 2, 1]),
    ]
    return nodes, {"w1": W1.T.copy(), "b1": B1[:, None]}


FORMS: list[Callable[[], Layers]] = [
    by_tokens,
    by_rows,
    by_rows_time_first,
    by_weight_on_the_left,
    by_convolution,
    by_einsum,
    by_einsum_of_moved_axes,
]


def save(form: Callable[[], Layers], path: Path) -> Path:
    nodes, tensors = form()
    nodes += [
        helper.make_node("Relu", ["h"], ["a1"], "relu"),
        helper.make_node("ReduceMean", ["a1"], ["p"], "pool", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["p", "w2", "b2"], ["y"], "second", transB=1),
    ]
    model = make_model(
        nodes,
        [("x", TensorProto.FLOAT, ["n", TOKENS, WIDTH])],
        [("y", ["n", CLASSES])],
        {**tensors, "w2": W2, "b2": B2},
    )
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mpq_onnx.AllocateResult]:
    """Water-filling at 3.4 bits a weight, for every form."""
    folder = tmp_path_factory.mktemp("forms")
    options = AllocateOptions(
        method="water-filling", granularity="channel", rounding="nearest", bias_correction=False
    )
    return {
        form.__name__: mpq_onnx.allocate(
            save(form, folder / f"{form.__name__}.onnx"),
            "random?count=96",
            folder / form.__name__,
            weight_bits=3.4,
            activation_bits=8,
            options=options,
        )
        for form in FORMS
    }


@pytest.mark.parametrize("name", [form.__name__ for form in FORMS[1:]])
def test_equal_networks_get_equal_widths_and_results(
    results: dict[str, mpq_onnx.AllocateResult], name: str
) -> None:
    wanted, found = results["by_tokens"].chosen, results[name].chosen
    widths = [
        {node.node: node.weight_bits for node in each.allocation.nodes if node.weight}
        for each in (wanted, found)
    ]
    assert widths[0] == widths[1]
    assert wanted.allocation.bit_operations == found.allocation.bit_operations
    assert found.evaluation.comparison is not None and wanted.evaluation.comparison is not None
    assert found.evaluation.comparison.output_sqnr == pytest.approx(
        wanted.evaluation.comparison.output_sqnr, abs=1.5
    )


@pytest.mark.parametrize("rounding", ["nearest", pytest.param("adaptive", marks=pytest.mark.slow)])
def test_a_bias_added_behind_a_product_is_corrected_too(rounding: str, tmp_path: Path) -> None:
    """At few bits the mean error is what rounding leaves most of; written as MatMul and Add it goes as in a Gemm."""

    def distance(form: Callable[[], Layers], corrects: bool) -> float:
        options = AllocateOptions(method="uniform", rounding=rounding, bias_correction=corrects)
        folder = tmp_path / f"{form.__name__}-{corrects}"
        path = save(form, tmp_path / f"{form.__name__}.onnx")
        found = mpq_onnx.allocate(
            path, "random?count=256", folder, weight_bits=3, activation_bits=8, options=options
        )
        return found.chosen.distance

    rows = distance(by_rows, True)
    for form in (by_tokens, by_einsum):
        assert distance(form, True) == pytest.approx(rows, rel=0.25)
        assert distance(form, True) < 0.98 * distance(form, False)


def written(form: str) -> onnx.ModelProto:
    """The layers in other words: with operands that do nothing, a constant that is taken away, tied weights stored twice."""
    rng = np.random.default_rng(8)
    w, v, positions = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((8, 6), (6, 5), (TOKENS, 6))
    )
    tensors = {"w": w, "v": v}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], "second"),
    ]

    def behind_the_first(op_type: str, constant: np.ndarray) -> None:
        tensors["c"] = constant
        nodes.insert(1, helper.make_node(op_type, ["h", "c"], ["changed"], "change"))
        nodes[2].input[0] = "changed"

    if form == "zeros at the end":
        tensors["c"] = np.zeros((TOKENS, 5), np.float32)
        nodes[-1].output[0] = "last"
        nodes.append(helper.make_node("Add", ["last", "c"], ["y"], "change"))
    elif form in ("Add", "Sub", "Mul", "Div"):
        behind_the_first(form, np.full((TOKENS, 6), form in ("Mul", "Div"), np.float32))
    elif form in ("positions", "negative positions"):
        behind_the_first(*(("Add", positions) if form == "positions" else ("Sub", -positions)))
    elif form.startswith("tied"):
        nodes[-1].input[1] = "t"
        turned = helper.make_node("Transpose", ["w"], ["t"], "turn", perm=[1, 0])
        if form == "tied by Unsqueeze":
            tensors["axis"] = np.array([0])
            turned = helper.make_node("Transpose", ["stack"], ["t"], "turn", perm=[0, 2, 1])
            nodes.insert(2, helper.make_node("Unsqueeze", ["w", "axis"], ["stack"], "stack"))
        if form == "tied by a copy":
            tensors["t"] = w.T.copy()
        else:
            nodes.insert(len(nodes) - 1, turned)
        del tensors["v"]
    width = 8 if form.startswith("tied") else 5
    return make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", TOKENS, 8])], [("y", ["n", TOKENS, width])], tensors
    )


@pytest.mark.parametrize(
    ("plain", "forms"),
    [
        pytest.param("plain", ["zeros at the end", "Add", "Sub", "Mul", "Div"], marks=pytest.mark.slow),
        ("plain", ["Sub", "Div"]),
        ("positions", ["negative positions"]),
        ("tied", ["tied by Unsqueeze", "tied by a copy"]),
    ],
)
def test_other_words_for_the_same_cost_the_same(plain: str, forms: list[str], tmp_path: Path) -> None:
    found = {}
    for form in (plain, *forms):
        source, exported = tmp_path / f"{form}.onnx", tmp_path / f"{form}-exported.onnx"
        onnx.save(written(form), source)
        mpq_onnx.export(str(source), exported)
        options = AllocateOptions(method="water-filling", rounding="nearest")
        result = mpq_onnx.allocate(
            exported, "random?count=96", tmp_path / form, weight_bits=4, activation_bits=8, options=options
        )
        allocation = result.chosen.allocation
        counted = sum(node.activation_elements for node in allocation.nodes if node.activation_counted)
        widths = sorted(str(each) for each in allocation.widths().values())
        found[form] = allocation.weight_bytes, counted, widths, round(result.chosen.distance, 5)
    assert all(found[form] == found[plain] for form in forms), found
