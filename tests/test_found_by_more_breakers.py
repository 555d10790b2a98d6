"""What testers found who had seen no code: roots at zero, outputs that show one example of a batch, pipes."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from test_cli import assert_one_line, run_inside

import mpq_onnx

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
QUICK = mpq_onnx.AllocateOptions(effort="quick")


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(0, 1, shape) / np.sqrt(shape[0])).astype(np.float32)


def saved(
    path: Path,
    nodes: list[NodeProto],
    shape: list[int | str],
    outputs: list[tuple[str, int, list[int | str]]],
    **tensors: np.ndarray,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(each, name) for name, each in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def examples(path: Path, *shape: int) -> str:
    np.savez(path, x=np.random.default_rng(1).normal(0, 1, shape).astype(np.float32))
    return f"npz:{path}"


def one_by_one(path: object, data: Path) -> np.ndarray:
    """The first output for every example, each alone."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": each[None]})[0] for each in np.load(data)["x"]])


@pytest.mark.parametrize("power", [0.5, 1 / 3, None])
def test_a_root_of_zero_has_no_endless_slope(power: float | None, tmp_path: Path) -> None:
    """Means of what a Relu leaves are exactly 0 for some channels of some examples."""
    last = (
        helper.make_node("Sqrt", ["mean"], ["root"], "root")
        if power is None
        else helper.make_node("Pow", ["mean", "power"], ["root"], "root")
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Pow", ["r", "two"], ["q"], "square"),
        helper.make_node("ReduceMean", ["q"], ["mean"], "mean", axes=[1], keepdims=0),
        last,
        helper.make_node("MatMul", ["root", "v"], ["y"], "last"),
    ]
    source = saved(
        tmp_path / "m.onnx", nodes, ["n", 3, 8], [("y", FLOAT, ["n", 4])], w=weights(8, 16), v=weights(16, 4, seed=1),
        two=np.float32(2), **({} if power is None else {"power": np.float32(power)}),
    )  # fmt: skip
    data = examples(tmp_path / "x.npz", 128, 3, 8)
    result = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    comparison = result.chosen.evaluation.comparison
    assert comparison is not None and comparison.output_sqnr is not None and comparison.output_sqnr > 25
    mpq_onnx.allocate_energy(
        source, data, tmp_path / "noisy", energy_per_mac=100,
        options=mpq_onnx.EnergyOptions(("shot",), effort="quick", repeats=1),
    )  # fmt: skip


def test_an_output_that_shows_one_example_of_a_batch(tmp_path: Path) -> None:
    """Whatever the batch size, every example is looked at."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["z"], "last"),
        helper.make_node("Gather", ["z", "first"], ["y"], "pick", axis=0),
    ]
    source = saved(
        tmp_path / "m.onnx", nodes, ["n", 6], [("y", FLOAT, [4])], w=weights(6, 16), v=weights(16, 4, seed=1),
        first=np.array(0),
    )  # fmt: skip
    data = examples(tmp_path / "x.npz", 64, 6)
    result = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=4, activation_bits=4, options=QUICK
    )
    exact, found = (one_by_one(path, tmp_path / "x.npz") for path in (source, result.model_path))
    wanted = 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum())
    check = result.mirror_check
    assert check.unoptimized_sqnr is not None and check.unoptimized_sqnr > 40  # the output was compared
    for size in (1, 64):
        comparison = mpq_onnx.evaluate(
            result.model_path, data, baseline=source, batch_size=size
        ).evaluation.comparison
        assert comparison is not None and comparison.output_sqnr == pytest.approx(wanted, abs=0.05)
    mpq_onnx.allocate_energy(
        source, data, tmp_path / "noisy", energy_per_mac=50,
        options=mpq_onnx.EnergyOptions(("shot",), effort="quick", repeats=1),
    )  # fmt: skip


def test_one_number_of_a_batch_of_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Greater", ["a", "least"], ["above"], "above"),
        helper.make_node("Cast", ["above"], ["ones"], "ones", to=INT),
        helper.make_node("ReduceSum", ["ones"], ["count"], "count", keepdims=0),
    ]
    source = saved(
        tmp_path / "m.onnx", nodes, [1, 6], [("count", INT, [])], w=weights(6, 32), least=np.float32(0.2)
    )
    data = examples(tmp_path / "x.npz", 64, 6)
    result = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=3, activation_bits=8, options=QUICK
    )
    exact, found = (one_by_one(path, tmp_path / "x.npz") for path in (source, result.model_path))
    for size in (1, 64):
        comparison = mpq_onnx.evaluate(
            result.model_path, data, baseline=source, batch_size=size
        ).evaluation.comparison
        assert comparison is not None and comparison.agreement is not None
        assert comparison.agreement.value == pytest.approx(float((exact == found).mean()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_stays_one(cnn_file: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    assert_one_line(run_inside("export", cnn_file, "-o", pipe), 3, "it is a device or a pipe")
    assert pipe.is_fifo()


def test_a_search_begins_where_the_other_limits_can_be_kept(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    names = [
        node.name for node in onnx.load(cnn_file).graph.node if node.op_type in ("Conv", "Gemm", "MatMul")
    ]
    rows = ["node,energy_per_mac,energy_uj,latency_ms"]
    rows += [f"{name},{energy},{energy},{100 / energy}" for name in names for energy in (1, 10, 100)]
    (tmp_path / "costs.csv").write_text("\n".join([*rows, ""]))
    found = mpq_onnx.energy_interval(
        cnn_file, f"npz:{image_file}?count=32", "energy_uj",
        mpq_onnx.EnergyOptions(("shot",), costs=str(tmp_path / "costs.csv"), max=(f"latency_ms={20 * len(names)}",)),
    )  # fmt: skip
    assert found.low == pytest.approx(9 * len(names), rel=0.05) and found.high == pytest.approx(
        100 * len(names)
    )
    widths = ["node,weight_bits,activation_bits,latency_ms"]
    widths += [f"{name},{bits},,{20 - bits}" for name in names for bits in (2, 4, 8)]
    (tmp_path / "widths.csv").write_text("\n".join([*widths, ""]))
    options = mpq_onnx.AllocateOptions(
        bit_choices=(2, 4, 8), activation_bit_choices=(8,), costs=str(tmp_path / "widths.csv"), effort="quick"
    )
    falling = mpq_onnx.resource_interval(
        cnn_file, f"npz:{image_file}?count=32", "latency_ms", options, activation_bits=8
    )
    assert falling.low == pytest.approx(12 * len(names)) and falling.high == pytest.approx(18 * len(names))
