"""What newcomers and breakers of the release with clusters, pages and plug-ins have found: each is a kind, kept mended."""

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx import registries

RNG = np.random.default_rng(0)


def dense_file(path: Path, size: int = 48, outputs: tuple[str, ...] = ("y",)) -> Path:
    """Two MatMuls whose weights are large enough to be shared with onnxruntime; the first may be given away."""
    first, second = (RNG.standard_normal((size, size)).astype(np.float32) / 7 for _ in range(2))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="second"),
    ]
    shapes = {"y": ["n", size], "w": [size, size]}
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(first, "w"), numpy_helper.from_array(second, "v")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def inputs(size: int = 48) -> np.ndarray:
    return RNG.standard_normal((40, size)).astype(np.float32)


@pytest.mark.parametrize("rounding", ["adaptive", "nearest"])
def test_large_weights_of_products_are_rounded_and_run(tmp_path: Path, rounding: str) -> None:
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform", rounding=rounding)
    model = dense_file(tmp_path / "m.onnx")
    result = mpq_onnx.allocate(
        model, inputs(), tmp_path / "out", weight_bits=4, activation_bits=8, options=options
    )
    assert result.mirror_check.optimized_sqnr > 60


def test_a_weight_that_the_model_gives_away_stays_float_there(tmp_path: Path) -> None:
    model = dense_file(tmp_path / "m.onnx", outputs=("y", "w"))
    np.savez(tmp_path / "x.npz", x=inputs())
    data = f"npz:{tmp_path / 'x.npz'}"
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform", rounding="adaptive")
    result = mpq_onnx.allocate(
        model, data, tmp_path / "out", weight_bits=3, activation_bits=6, options=options
    )
    assert result.mirror_check.optimized_sqnr > 60
    again = mpq_onnx.apply(model, tmp_path / "out" / "allocation.json", tmp_path / "again.onnx", data=data)
    assert again.mirror_check is not None and again.mirror_check.optimized_sqnr > 60


def test_results_do_not_take_the_place_of_models(tmp_path: Path) -> None:
    model = dense_file(tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=inputs())
    data = ("--data", f"npz:{tmp_path / 'x.npz'}")
    before = model.read_bytes()
    assert_one_line(run_inside("report", "--graph", model, "-o", model), 2, ".svg")
    assert_one_line(run_inside("report", "--graph", model, "-o", tmp_path / "m.png"), 2, ".svg")
    assert_one_line(run_inside("report", tmp_path, "-o", model), 2, ".html")
    assert_one_line(run_inside("calibrate", model, *data, "-o", model), 2, ".json")
    fast = ("--effort", "quick", "--method", "uniform", "--activation-bits", "6")
    done = run_inside("allocate", model, *data, "--weight-bits", 3, *fast, "-o", tmp_path / "out")
    assert done.returncode == 0
    allocation = tmp_path / "out" / "allocation.json"
    assert_one_line(run_inside("apply", model, allocation, *data, "-o", model), 2, "float model itself")
    assert model.read_bytes() == before


def test_macs_of_tokens_that_share_an_axis_with_examples(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "w"], ["g"], name="g"),
        helper.make_node("Reshape", ["g", "back"], ["y"], name="back"),
    ]
    constants = [
        numpy_helper.from_array(np.array([-1, 8]), "rows"),
        numpy_helper.from_array(np.array([-1, 16, 4]), "back"),
        numpy_helper.from_array(RNG.standard_normal((8, 4)).astype(np.float32), "w"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["batch", 16, 8]), ("y", ["batch", 16, 4]))
    ]
    graph = helper.make_graph(nodes, "tokens", ends[:1], ends[1:], constants)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert mpq_onnx.inspect(path).macs == 16 * 8 * 4


def test_counts_of_a_fixed_batch_are_said_to_be_its_own(tmp_path: Path) -> None:
    model = onnx.load(dense_file(tmp_path / "m.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    model.graph.node[1].op_type = "Softmax"
    model.graph.node[1].attribute.append(
        helper.make_attribute("axis", 0)
    )  # examples are mixed: the batch stays
    onnx.save(model, tmp_path / "fixed.onnx")
    found = mpq_onnx.inspect(tmp_path / "fixed.onnx")
    assert found.macs == 4 * 2 * 48 * 48 and any("4 examples" in note for note in found.notes)


class Unfinished:
    """An observer that watches nothing."""


@pytest.mark.parametrize(
    ("registry", "name", "given", "option"),
    [
        (registries.OBSERVERS, "unfinished", Unfinished, ("--observer", "unfinished")),
        (registries.METHODS, "one", lambda problem: [1], ("--method", "one")),
        (registries.WEIGHT_OBSERVERS, "nothing", lambda *given: None, ("--weight-observer", "nothing")),
        (registries.WEIGHT_OBSERVERS, "scalars", lambda *given: (0.0, 1.0), ("--weight-observer", "scalars")),
    ],
)
def test_a_plugin_that_gives_something_else_is_one_line(
    tmp_path: Path, registry: dict, name: str, given: object, option: tuple[str, str]
) -> None:
    model = dense_file(tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=inputs())
    registry[name] = given
    try:
        command = (
            "allocate",
            model,
            "--data",
            f"npz:{tmp_path / 'x.npz'}",
            "--weight-bits",
            4,
            "-o",
            tmp_path / "o",
        )
        assert_one_line(run_inside(*command, "--effort", "quick", *option), 2, name)
    finally:
        del registry[name]


def test_a_plugin_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("failing", "json:loads", "mpq_onnx.methods")
    monkeypatch.setattr(registries.METHODS, "_plugins", {"failing": entry})
    with pytest.raises(mpq_onnx.MpqOnnxError, match=r"plug-in failing .* failed: TypeError"):
        registries.METHODS["failing"](object())
    del registries.METHODS["failing"]
