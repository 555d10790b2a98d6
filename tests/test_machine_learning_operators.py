"""ai.onnx.ml in standard operators: onnxruntime on the source is the judge of every operator, transform and kind of label."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.metadata import METADATA_LABELS
from mpq_onnx.graph.model_file import load_model, model_bytes
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runs.exporting import export

DOMAIN = "ai.onnx.ml"
ROWS, FEATURES = 5, 4
RANKS = {"label": 1, "hot": 3}
"""Of outputs that are no matrix."""
NAMES = ["whale", "ant", "horse"]
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int]],
    opset: int = 13,
    version: int = 3,
    **constants: np.ndarray,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "learned",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(name, kind, [None] * RANKS.get(name, 2)) for name, kind in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, version)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def one_node(op_type: str, outputs: list[tuple[str, int]], kind: int = TensorProto.FLOAT, **attributes: Any):
    """A model of one node that reads x [n, 4]."""
    node = helper.make_node(
        op_type, ["x"], [name for name, _ in outputs], "node", domain=DOMAIN, **attributes
    )
    return model_of([node], [("x", kind, ["n", FEATURES])], outputs)


def classifier(columns: int, transform: str, **labels: Any) -> onnx.ModelProto:
    kind = TensorProto.STRING if "classlabels_strings" in labels else TensorProto.INT64
    return one_node(
        "LinearClassifier",
        [("label", kind), ("scores", TensorProto.FLOAT)],
        coefficients=numbers(columns * FEATURES).tolist(),
        intercepts=numbers(columns).tolist(),
        post_transform=transform,
        **labels,
    )


def run(content: bytes, feeds: dict[str, np.ndarray]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def check(source: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> ir.Model:
    """The canonical form of `source`, after its outputs agreed with onnxruntime's on the source."""
    canonical = canonicalize(ir.from_proto(source))
    onnx.checker.check_model(ir.to_proto(canonical), full_check=True)
    assert all(node.domain == "" for node in canonical.graph)
    found, expected = run(model_bytes(canonical), feeds), run(source.SerializeToString(), feeds)
    for ours, theirs in zip(found, expected, strict=True):
        if theirs.dtype == object:
            theirs = np.array([NAMES.index(name) for name in theirs.reshape(-1)]).reshape(theirs.shape)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    return canonical


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (3, {"classlabels_ints": [0, 1, 2]}),
        (3, {"classlabels_ints": [7, -2, 4]}),
        (3, {"classlabels_strings": NAMES}),
        (2, {"classlabels_ints": [0, 1]}),
        (1, {"classlabels_ints": [0, 1]}),
        (1, {"classlabels_strings": NAMES[:2]}),
    ],
    ids=["ints", "odd_ints", "strings", "two_columns", "one_column", "one_column_strings"],
)
def test_linear_classifiers(columns: int, labels: dict[str, Any], transform: str) -> None:
    canonical = check(classifier(columns, transform, **labels), {"x": numbers(ROWS, FEATURES)})
    names = labels.get("classlabels_strings")
    assert canonical.metadata_props.get(METADATA_LABELS) == (json.dumps(names) if names else None)


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_linear_regressors(targets: int, transform: str) -> None:
    model = one_node(
        "LinearRegressor",
        [("y", TensorProto.FLOAT)],
        coefficients=numbers(targets * FEATURES).tolist(),
        intercepts=numbers(targets).tolist(),
        targets=targets,
        post_transform=transform,
    )
    check(model, {"x": numbers(ROWS, FEATURES)})


FLOAT_OUT = [("y", TensorProto.FLOAT)]
FEATURE_MODELS = {
    "scaler": lambda: one_node("Scaler", FLOAT_OUT, offset=[1.0, 2.0, 0.5, -1.0], scale=[2.0, 1.0, 0.1, 3.0]),
    "scaler_of_one": lambda: one_node("Scaler", FLOAT_OUT, offset=[1.0], scale=[0.5]),
    "normalizer_l1": lambda: one_node("Normalizer", FLOAT_OUT, norm="L1"),
    "normalizer_l2": lambda: one_node("Normalizer", FLOAT_OUT, norm="L2"),
    "normalizer_max": lambda: one_node("Normalizer", FLOAT_OUT, norm="MAX"),
    "binarizer": lambda: one_node("Binarizer", FLOAT_OUT, threshold=0.25),
    "imputer": lambda: one_node(
        "Imputer", FLOAT_OUT, imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=0.0
    ),
    "imputer_of_nan": lambda: one_node(
        "Imputer", FLOAT_OUT, imputed_value_floats=[9.0], replaced_value_float=float("nan")
    ),
}


@pytest.mark.parametrize("name", FEATURE_MODELS)
def test_features_are_scaled(name: str) -> None:
    x = numbers(ROWS, FEATURES)
    x[2] = 0  # a row without a norm, and values to impute
    check(FEATURE_MODELS[name](), {"x": x})
    if name == "imputer_of_nan":
        x[1, 2] = np.nan
        check(FEATURE_MODELS[name](), {"x": x})


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float64])
def test_scalers_and_classifiers_take_numbers_of_any_type(kind: type) -> None:
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], "s", domain=DOMAIN, offset=[1.0] * 4, scale=[0.1] * 4),
        helper.make_node(
            "LinearClassifier", ["s"], ["label", "scores"], "c", domain=DOMAIN, classlabels_ints=[0, 1, 2],
            coefficients=numbers(12).tolist(), intercepts=numbers(3).tolist(), post_transform="SOFTMAX",
        ),
        helper.make_node("Normalizer", ["scores"], ["p"], "n", domain=DOMAIN, norm="L1"),
    ]  # fmt: skip
    onnx_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    model = model_of(
        nodes,
        [("x", onnx_type, ["n", FEATURES])],
        [("label", TensorProto.INT64), ("p", TensorProto.FLOAT)],
    )
    canonical = check(model, {"x": RNG.integers(-9, 9, (ROWS, FEATURES)).astype(kind)})
    assert "LpNormalization" not in {node.op_type for node in canonical.graph}


@pytest.mark.parametrize("classes", [np.array([0, 1, 2]), np.array([5, 3, 9]), np.array(NAMES, object)])
def test_labels_picked_by_the_largest_score(classes: np.ndarray) -> None:
    """As skl2onnx ends a multilayer perceptron."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"], "scores"),
        helper.make_node("ArgMax", ["s"], ["best"], "best", axis=1),
        helper.make_node("ArrayFeatureExtractor", ["classes", "best"], ["row"], "pick", domain=DOMAIN),
        helper.make_node("Reshape", ["row", "flat"], ["label"], "flatten"),
    ]
    kind = TensorProto.STRING if classes.dtype == object else TensorProto.INT64
    model = model_of(
        nodes,
        [("x", TensorProto.FLOAT, ["n", FEATURES])],
        [("label", kind), ("row", kind), ("s", TensorProto.FLOAT)],
        w=numbers(FEATURES, 3),
        classes=classes,
        flat=np.array([-1]),
    )
    check(model, {"x": numbers(ROWS, FEATURES)})


def test_features_are_picked_and_joined() -> None:
    nodes = [
        helper.make_node("ArrayFeatureExtractor", ["x", "places"], ["p"], "pick", domain=DOMAIN),
        helper.make_node(
            "FeatureVectorizer", ["p", "x"], ["y"], "join", domain=DOMAIN, inputdimensions=[2, 4]
        ),
    ]
    model = model_of(nodes, [("x", TensorProto.FLOAT, ["n", FEATURES])], FLOAT_OUT, places=np.array([3, 1]))
    check(model, {"x": numbers(ROWS, FEATURES)})


def test_whole_numbers_are_encoded() -> None:
    nodes = [
        helper.make_node(
            "LabelEncoder", ["x"], ["code"], "code", domain=DOMAIN,
            keys_int64s=[3, 1, 2], values_int64s=[10, 20, 30], default_int64=-5,
        ),
        helper.make_node("OneHotEncoder", ["x"], ["hot"], "hot", domain=DOMAIN, cats_int64s=[1, 2, 3], zeros=1),
    ]  # fmt: skip
    outputs = [("code", TensorProto.INT64), ("hot", TensorProto.FLOAT)]
    model = model_of(nodes, [("x", TensorProto.INT64, ["n", FEATURES])], outputs)
    check(model, {"x": RNG.integers(0, 6, (ROWS, FEATURES))})


@pytest.mark.parametrize("labels", [{"classlabels_int64s": [4, 0, 2]}, {"classlabels_strings": NAMES}])
def test_export_puts_probabilities_in_the_place_of_a_zip_map(labels: dict[str, Any], tmp_path: Path) -> None:
    key = "classlabels_ints" if "classlabels_int64s" in labels else "classlabels_strings"
    source = classifier(3, "SOFTMAX", **{key: next(iter(labels.values()))})
    source.graph.node.append(
        helper.make_node("ZipMap", ["scores"], ["zipped"], "zip", domain=DOMAIN, **labels)
    )
    kind = TensorProto.STRING if "classlabels_strings" in labels else TensorProto.INT64
    of_value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    zipped = helper.make_sequence_type_proto(helper.make_map_type_proto(kind, of_value))
    source.graph.output[1].CopyFrom(helper.make_value_info("zipped", zipped))
    onnx.save(source, tmp_path / "source.onnx")
    result = export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    assert any("text become numbers" in note for note in result.notes) == ("classlabels_strings" in labels)
    assert any("output zipped is a tensor" in note for note in result.notes)
    x = numbers(ROWS, FEATURES)
    label, probabilities = run((tmp_path / "float.onnx").read_bytes(), {"x": x})
    names, maps = run((tmp_path / "source.onnx").read_bytes(), {"x": x})
    order = next(iter(labels.values()))
    np.testing.assert_allclose(probabilities, [[row[each] for each in order] for row in maps], rtol=1e-5)
    expected = [order.index(name) for name in names] if "classlabels_strings" in labels else names
    np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (classifier(3, "PROBIT", classlabels_ints=[0, 1, 2]), "node.*LinearClassifier.*PROBIT"),
        (one_node("SVMRegressor", FLOAT_OUT, kernel_type="LINEAR"), "SVMRegressor.*support vector"),
        (one_node("TreeEnsembleRegressor", FLOAT_OUT), "TreeEnsembleRegressor.*trees"),
        (
            one_node("LabelEncoder", FLOAT_OUT, keys_floats=[1.0], values_floats=[2.0]),
            "LabelEncoder.*whole numbers",
        ),
    ],
    ids=["probit", "svm", "tree", "encoder"],
)
def test_what_has_no_standard_form_is_refused_by_name(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as error:
        canonicalize(ir.from_proto(model))
    assert "\n" not in str(error.value)


def test_a_file_without_a_default_opset_and_one_of_a_newer_opset(tmp_path: Path) -> None:
    """skl2onnx writes ridge regressions with ai.onnx.ml first and opset 22 beside it."""
    source = one_node("LinearRegressor", FLOAT_OUT, coefficients=[1.0] * FEATURES)
    del source.opset_import[:]
    source.opset_import.extend([helper.make_opsetid(DOMAIN, 1), helper.make_opsetid("", 22)])
    onnx.save(source, tmp_path / "source.onnx")
    canonical = canonicalize(load_model(tmp_path / "source.onnx"))
    assert canonical.opset_imports == {"": 21}
