"""Weights that are cut out of a packed one, as exporters write attention whose query is not its key: they are weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import mpq_onnx

FLOAT = TensorProto.FLOAT
WIDTH = 8
PRODUCTS = [
    helper.make_node("MatMul", ["x", "wq"], ["q"], "q"),
    helper.make_node("MatMul", ["x", "wk"], ["k"], "k"),
    helper.make_node("Transpose", ["k"], ["turned"], "turn", perm=[0, 2, 1]),
    helper.make_node("MatMul", ["q", "turned"], ["s"], "s"),
    helper.make_node("Softmax", ["s"], ["p"], "p"),
    helper.make_node("MatMul", ["p", "x"], ["y"], "y"),
]


def sliced() -> list[NodeProto]:
    """By lengths that the graph takes from a shape, whose first axis is open."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], "shape"),
        helper.make_node("Slice", ["shape", "minus_1", "far", "zero"], ["width"], "width"),
        helper.make_node("Mul", ["width", "two"], ["end"], "end"),
        helper.make_node("Slice", ["packed", "zero", "width", "one"], ["wq"], "cut_q"),
        helper.make_node("Slice", ["packed", "width", "end", "one"], ["wk"], "cut_k"),
    ]
    return [*nodes, *PRODUCTS]


FORMS: dict[str, list[NodeProto]] = {
    "apart": PRODUCTS,
    "split": [helper.make_node("Split", ["packed", "sizes"], ["wq", "wk"], "cut", axis=1), *PRODUCTS],
    "equal split": [helper.make_node("Split", ["packed"], ["wq", "wk"], "cut", axis=-1), *PRODUCTS],
    "slices": sliced(),
}


def written(path: Path, form: str) -> Path:
    rng = np.random.default_rng(0)
    packed = rng.normal(0, 0.4, (WIDTH, 2 * WIDTH)).astype(np.float32)
    tensors = {
        "packed": packed, "wq": packed[:, :WIDTH], "wk": packed[:, WIDTH:], "sizes": np.array([WIDTH, WIDTH]),
        "minus_1": np.array([-1]), "far": np.array([2**62]), "zero": np.array([0]), "one": np.array([1]),
        "two": np.array([2]),
    }  # fmt: skip
    made = {name for node in FORMS[form] for name in node.output}
    read = {name for node in FORMS[form] for name in node.input} - made
    graph = helper.make_graph(
        FORMS[form],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 5, WIDTH])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 5, WIDTH])],
        [
            numpy_helper.from_array(np.ascontiguousarray(each), name)
            for name, each in tensors.items()
            if name in read
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("form", ["split", "equal split", "slices"])
def test_weights_cut_from_a_packed_one_cost_what_they_cost_apart(form: str, tmp_path: Path) -> None:
    found = {}
    for name in ("apart", form):
        result = mpq_onnx.allocate(
            written(tmp_path / f"{name}.onnx", name), "random?count=64", tmp_path / name.replace(" ", "_"),
            weight_bits=4, activation_bits=8, options=mpq_onnx.AllocateOptions(effort="quick", method="uniform"),
        )  # fmt: skip
        comparison = result.chosen.evaluation.comparison
        assert comparison is not None and not any("stay in float" in note for note in result.notes)
        widths = {node.node: node.weight_bits for node in result.chosen.allocation.nodes if node.weight}
        found[name] = result.chosen.resources, widths, comparison.output_sqnr
    resources, widths, sqnr = found["apart"]
    assert widths == {"q": 4, "k": 4}
    assert found[form][:2] == (resources, widths)
    assert found[form][2] == pytest.approx(sqnr, abs=0.1)
    noisy = mpq_onnx.allocate_energy(
        tmp_path / f"{form}.onnx", "random?count=64", tmp_path / "noisy", energy_per_mac=50, weight_bits=8, activation_bits=8,
        options=mpq_onnx.EnergyOptions(("thermal",), effort="quick"),
        digital=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    assert len(noisy.chosen.allocation.nodes) == 4
