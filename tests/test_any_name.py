"""Any legal name of a value or a node will do, in every stage; what we add never collides with it."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from conftest import make_cnn, make_encoder, make_model, weights
from onnx import TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name, take_name
from mpq_onnx.graph.model_file import add_initializer, load_model
from mpq_onnx.graph.quantized_tensors import METADATA_QUANTIZES
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.options import AllocateOptions

SUFFIXES = (
    "", "_zero_point", "_scale", "_quantized", "_dequantized", "_float", "_narrowed", "_lowest", "_highest", "_turned",
    "_quantize", "_dequantize", "_noise_free", "_before", "_stored", "_integers", "_levels", "_1", "_column",
)  # fmt: skip
OWN = (
    "self", "class", "lambda", "None", "placeholder", "output", "call_module", "getitem", "get_attr", "training", "forward",
    "parameters", "weight", "bias", "modules", "T_destination", "_parameters", "_modules", "graph", "code", "torch", "inf",
    "constant_1_x", "quantizer_node_a", "a/b", "a_b", "a.b", "a b", " ", "1", "0x", "größe", "ﬁt", "fit", "重み",
    "a::b:0", "//", ".", "x\ny", "quote'\"", "images", "labels",
)  # fmt: skip
HOSTILE = {
    "suffixes of one name": [f"X{suffix}" for suffix in SUFFIXES]
    + [f"X_dequantized{suffix}" for suffix in SUFFIXES if suffix],
    "names that Python and torch have": list(OWN),
}


def renamed(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Values and nodes get `names`, nodes those of values; where there are too few, with numbers before them."""
    taken: dict[str, str] = {}

    def new(name: str) -> str:
        if name and name not in taken:
            turn, place = divmod(len(taken), len(names))
            taken[name] = names[place] if not turn else f"{turn}{names[place]}"
        return taken.get(name, name)

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    # Activations first: the collisions to fear are with what is written for them.
    for value in (*graph.input, *graph.output):
        value.name = new(value.name)
    for node in graph.node:
        node.output[:] = map(new, node.output)
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)
    for node in graph.node:
        node.input[:] = map(new, node.input)
    shift = len(graph.node) // 2
    values = [node.output[0] for node in graph.node]
    for node, name in zip(graph.node, values[shift:] + values[:shift], strict=True):
        node.name = name
    return changed


def outputs(path: Path, arrays: list[np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    found: list[np.ndarray] = session.run(None, dict(zip(names, arrays, strict=True)))
    return found


def constants(path: Path) -> list[tuple[str, list[bytes]]]:
    """The constants of every node, in graph order."""
    model = onnx.load(path)
    stored = {each.name: numpy_helper.to_array(each).tobytes() for each in model.graph.initializer}
    return [
        (node.op_type, [stored[name] for name in node.input if name in stored]) for node in model.graph.node
    ]


def widths(folder: Path) -> list[object]:
    document = json.loads((folder / "allocation.json").read_text())
    return [(node["op_type"], node["weight_bits"], node["activation_bits"]) for node in document["nodes"]]


def layer_tables(folder: Path) -> list[object]:
    document = json.loads((folder / "layers.json").read_text())
    return [
        {key: value for key, value in row.items() if key not in ("name", "weight")}
        for row in document["layers"]
    ]


def run(model: onnx.ModelProto, folder: Path, storage: str, ranges: str) -> dict[str, object]:
    """What every stage makes of a network, without names."""
    folder.mkdir()
    onnx.save(model, folder / "float.onnx")
    mpq_onnx.export(str(folder / "float.onnx"), folder / "canonical.onnx")
    options = AllocateOptions(
        method="water-filling", rounding="nearest", storage=storage, activation_ranges=ranges
    )
    data = "random?count=16"
    digital = mpq_onnx.allocate(
        folder / "float.onnx",
        data,
        folder / "digital",
        weight_bits=3.5,
        activation_bits=6.5,
        options=options,
    )
    found: dict[str, object] = {
        "constants": constants(folder / "digital" / "model.onnx"),
        "widths": widths(folder / "digital"),
        "sqnr": [
            (each.op_type, round(each.sqnr, 6))
            for each in mpq_onnx.compare(
                folder / "canonical.onnx", folder / "digital" / "model.onnx", data=data
            )
        ],
        "bits": digital.chosen.allocation.bit_operations,
    }
    mpq_onnx.handoff(folder / "digital" / "model.onnx", folder / "json", to="json")
    found["layers"] = layer_tables(folder / "json")
    if ranges == "static":
        for target in ("qonnx", "qcdq"):
            mpq_onnx.handoff(folder / "digital" / "model.onnx", folder / target, to=target)
            onnx.checker.check_model(onnx.load(folder / "qcdq" / "model.onnx")) if target == "qcdq" else None
            found[target] = constants(folder / target / "model.onnx")
        noise = EnergyOptions(noise=("thermal", "weight"), method="closed-form", repeats=1)
        noisy = mpq_onnx.allocate_energy(
            folder / "digital" / "model.onnx", data, folder / "noisy", energy_per_mac=50.0, options=noise
        )
        found["energies"] = [node.energy_per_mac for node in noisy.chosen.allocation.nodes]
        mpq_onnx.handoff(folder / "noisy" / "model.onnx", folder / "noisy-json", to="json", data=data)
        found["noisy layers"] = layer_tables(folder / "noisy-json")
    return found


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {"cnn": make_cnn, "encoder": make_encoder}
CASES = [
    pytest.param(case, names, id=f"{'-'.join(case)}-{names}", marks=marks)
    for case, names, marks in (
        (("cnn", "int8", "static"), "names that Python and torch have", pytest.mark.slow),
        (("encoder", "int8", "static"), "names that Python and torch have", ()),
        (("cnn", "packed", "dynamic"), "suffixes of one name", ()),
    )
]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory):
    """What a network comes to under plain names, and the folder it lies in; made once."""
    folder = tmp_path_factory.mktemp("names")

    @functools.cache
    def of(name: str, storage: str, ranges: str) -> tuple[dict[str, object], Path]:
        place = folder / f"{name}-{storage}-{ranges}"
        return run(MODELS[name](), place, storage, ranges), place

    return of


@pytest.mark.parametrize(("case", "names"), CASES)
def test_names_change_nothing(wanted, case: tuple[str, str, str], names: str, tmp_path: Path) -> None:
    model, storage, ranges = case
    expected, folder = wanted(*case)
    hostile = renamed(MODELS[model](), HOSTILE[names])
    onnx.checker.check_model(hostile)
    found = run(hostile, tmp_path / "found", storage, ranges)
    assert found.keys() == expected.keys()
    for what, value in expected.items():
        assert found[what] == value, what
    rng = np.random.default_rng(0)
    arrays = (
        [rng.standard_normal((5, 3, 12, 12)).astype(np.float32)]
        if model == "cnn"
        else [rng.integers(0, 20, (5, 5)).astype(np.int64)]
    )
    for file in ("canonical.onnx", "digital/model.onnx"):
        loaded = onnx.load(tmp_path / "found" / file)
        onnx.checker.check_model(loaded)
        before, after = (
            [value.name for group in (each.graph.input, each.graph.output) for value in group]
            for each in (hostile, loaded)
        )
        assert before == after
        for a, b in zip(
            outputs(folder / file, arrays), outputs(tmp_path / "found" / file, arrays), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_a_file_from_before_the_notes_is_read_by_its_suffixes(cnn_file: Path, tmp_path: Path) -> None:
    options = AllocateOptions(method="uniform", rounding="nearest")
    mpq_onnx.allocate(
        cnn_file, "random?count=16", tmp_path / "new", weight_bits=3, activation_bits=6, options=options
    )
    model = onnx.load(tmp_path / "new" / "model.onnx")
    noted = 0
    for node in model.graph.node:
        noted += len(node.metadata_props)
        del node.metadata_props[:]
    assert noted
    onnx.save(model, tmp_path / "old.onnx")
    new, old = (load_model(path) for path in (tmp_path / "new" / "model.onnx", tmp_path / "old.onnx"))
    found = [
        {
            node.name: node.metadata_props[METADATA_QUANTIZES]
            for node in each.graph
            if METADATA_QUANTIZES in node.metadata_props
            and not node.metadata_props[METADATA_QUANTIZES].endswith("_bias_dequantized")
        }
        for each in (new, old)
    ]
    on_outputs = {value.name for value in new.graph.outputs}  # they have no suffix, and need none
    assert {key: value for key, value in found[0].items() if value not in on_outputs} == found[1]


@pytest.mark.parametrize("side", ["left", "vector", "gemm"])
def test_turned_weights_collide_with_nothing(side: str, tmp_path: Path) -> None:
    """Names that the pass would give, already in use."""
    rng = np.random.default_rng(0)
    weight, bias = weights(rng, 6, 5), rng.standard_normal((6, 1)).astype(np.float32)
    taken = {"left": "w_turned", "vector": "w_column", "gemm": "b_turned"}[side]
    tensors = {"w": weight[0] if side == "vector" else weight, "b": bias}
    product = {
        "left": helper.make_node("MatMul", ["w", "x"], ["y"], "y_turn_back"),
        "vector": helper.make_node("MatMul", ["xt", "w"], ["y"], "y_squeeze"),
        "gemm": helper.make_node("Gemm", ["w", "x", "b"], ["y"], "y_turn_back"),
    }[side]
    nodes = [
        helper.make_node("Relu", ["images"], [taken], "x_turned_for_y"),
        helper.make_node("Transpose", [taken], ["xt"], "before", perm=[1, 0]),
        helper.make_node("Identity", ["xt"], ["x"], "w_column"),
        product,
        helper.make_node("Relu", ["y"], ["y_turned"], "y_column_axis"),
    ]
    if side == "vector":
        nodes[1] = helper.make_node("Identity", [taken], ["xt"], "before")
        nodes.pop(2)
    shape = ["n"] if side == "vector" else [6, "n"]
    model = make_model(nodes, [("images", TensorProto.FLOAT, ["n", 5])], [("y_turned", shape)], tensors)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "canonical.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "canonical.onnx"))
    data = [rng.standard_normal((4, 5)).astype(np.float32)]
    (a,), (b,) = (outputs(tmp_path / name, data) for name in ("source.onnx", "canonical.onnx"))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_fresh_names_are_in_nobodys_way() -> None:
    inner = ir.Value(name="inner")
    branch = ir.Graph([], [inner], nodes=[ir.node("Identity", [ir.Value(name="x")], outputs=[inner])])
    condition, x = ir.Value(name="c"), ir.Value(name="x")
    choice = ir.node("If", [condition], {"then_branch": branch}, name="choice", outputs=[ir.Value(name="y")])
    graph = ir.Graph([condition, x], choice.outputs, nodes=[choice], opset_imports={"": 21})
    assert fresh_name(graph, "new") == "new"
    assert fresh_name(graph, "new") == "new_1"
    assert fresh_name(graph, "inner") == "inner_1"
    assert fresh_node_name(graph, "choice") == "choice_1"
    first, second = (add_initializer(graph, "x", np.zeros(1, np.float32)) for _ in range(2))
    assert {first.name, second.name} == {"x_1", "x_2"}
    take_name(graph, first, x, "x_before")
    assert (first.name, x.name) == ("x", "x_before") and graph.initializers["x"] is first
