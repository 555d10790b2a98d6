"""Files by default options have the kernels that onnxruntime runs fast, and compute what the graph says."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.arithmetic.quantization import INT8, INT8_LEVELS, WEIGHT_SCHEMES
from mpq_onnx.arithmetic.saturation import ALONE, LARGEST_SUM, NEIGHBOURS, neighbour_sums, saturates
from mpq_onnx.runtime import timing

QUICK = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest")


def saved(path: Path, nodes, inputs, outputs, tensors, opset: int = 21) -> Path:
    onnx.save(make_model(nodes, inputs, outputs, tensors, opset), path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Plain, grouped and depthwise Conv, a Split behind a channel shuffle, Concat, Gemm: 8x8x8 to 4 classes."""
    rng = np.random.default_rng(0)
    tensors = {
        "wp": weights(rng, 16, 8, 3, 3), "bp": rng.standard_normal(16).astype(np.float32),
        "wg": weights(rng, 16, 4, 3, 3), "bg": rng.standard_normal(16).astype(np.float32),
        "wd": np.abs(weights(rng, 16, 1, 3, 3)), "bd": rng.standard_normal(16).astype(np.float32),
        "ws": weights(rng, 8, 8, 1, 1), "bs": rng.standard_normal(8).astype(np.float32),
        "wt": weights(rng, 16, 16, 1, 1), "bt": rng.standard_normal(16).astype(np.float32),
        "wc": weights(rng, 4, 16), "bc": rng.standard_normal(4).astype(np.float32),
        "apart": np.array([0, 2, 8, 8, 8], np.int64), "whole": np.array([0, 16, 8, 8], np.int64),
        "parts": np.array([8, 8], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "wp", "bp"], ["p_"], "plain", pads=[1] * 4),
        helper.make_node("Relu", ["p_"], ["p"], "relu"),
        helper.make_node("Conv", ["p", "wg", "bg"], ["g"], "grouped", pads=[1] * 4, group=4),
        helper.make_node("Conv", ["g", "wd", "bd"], ["d"], "depthwise", pads=[1] * 4, group=16),
        helper.make_node("Reshape", ["d", "apart"], ["a"], "apart_"),
        helper.make_node("Transpose", ["a"], ["t"], "turn", perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "whole"], ["s"], "shuffled"),
        helper.make_node("Split", ["s", "parts"], ["left", "right"], "split", axis=1),
        helper.make_node("Conv", ["left", "ws", "bs"], ["l"], "side"),
        helper.make_node("Concat", ["l", "right"], ["c"], "join", axis=1),
        helper.make_node("Conv", ["c", "wt", "bt"], ["b"], "tail"),
        helper.make_node("GlobalAveragePool", ["b"], ["m"], "mean"),
        helper.make_node("Flatten", ["m"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "wc", "bc"], ["y"], "classes", transB=1),
    ]
    shape = ["n", 8, 8, 8]
    return saved(
        tmp_path / "images.onnx", nodes, [("x", TensorProto.FLOAT, shape)], [("y", ["n", 4])], tensors
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two tables, one of them read twice, and a product."""
    rng = np.random.default_rng(1)
    tensors = {
        "alone": rng.standard_normal((50, 8)).astype(np.float32) * rng.uniform(0.1, 2, (50, 1)).astype(np.float32),
        "twice": rng.standard_normal((30, 8)).astype(np.float32) + 0.5,
        "w": weights(rng, 8, 6),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["alone", "ids"], ["e"], "look"),
        helper.make_node("Gather", ["twice", "ids"], ["f"], "first"),
        helper.make_node("Gather", ["twice", "others"], ["h"], "second"),
        helper.make_node("Add", ["e", "f"], ["s"], "add"),
        helper.make_node("Add", ["s", "h"], ["t"], "add2"),
        helper.make_node("MatMul", ["t", "w"], ["y"], "product"),
    ]
    ids = [("ids", TensorProto.INT64, ["n", 5]), ("others", TensorProto.INT64, ["n", 5])]
    return saved(tmp_path / "rows.onnx", nodes, ids, [("y", ["n", 5, 6])], tensors)


@pytest.fixture
def row_data(tmp_path: Path) -> str:
    rng = np.random.default_rng(2)
    path = tmp_path / "rows.npz"
    np.savez(path, ids=rng.integers(0, 30, (32, 5)), others=rng.integers(0, 30, (32, 5)))
    return f"npz:{path}"


def kernels(path: str | Path, folder: Path) -> Counter:
    """Operators of the graph that onnxruntime makes of a file."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def outputs(path: str | Path, feeds: dict[str, np.ndarray], optimize: bool = True) -> np.ndarray:
    options = ort.SessionOptions()
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def stored(path: str | Path) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_convolutions_have_integer_kernels(images: Path, tmp_path: Path, bits: float) -> None:
    result = mpq_onnx.allocate(
        images, "random?count=16", tmp_path / "out", weight_bits=bits, activation_bits=8, options=QUICK
    )
    found = kernels(result.model_path, tmp_path)
    assert found["QLinearConv"] == 5 and not found["Conv"]
    assert found["QGemm"] == 1 and not found["Gemm"]
    assert found["QLinearConcat"] == 1 and found["QLinearGlobalAveragePool"] == 1
    arrays = stored(result.model_path)
    for name in ("wp", "wg", "wd", "ws", "wt", "wc"):
        assert arrays[f"{name}_quantized"].dtype == np.int8, name
        assert not arrays[f"{name}_zero_point"].any(), name


def test_asymmetric_weights_are_there_to_be_asked_for(images: Path, tmp_path: Path) -> None:
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", weight_scheme="asymmetric")
    result = mpq_onnx.allocate(
        images, "random?count=16", tmp_path / "out", weight_bits=8, activation_bits=8, options=options
    )
    arrays = stored(result.model_path)
    assert arrays["wd_quantized"].dtype == np.uint8 and len(np.unique(arrays["wd_zero_point"])) > 1


def test_an_earlier_allocation_gives_the_graph_that_it_gave(images: Path, tmp_path: Path) -> None:
    """Settings that it does not say have the values of its time: scheme, containers, and no passes of later versions."""
    data = "random?count=16"
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", weight_scheme="asymmetric")
    mpq_onnx.allocate(images, data, tmp_path / "out", weight_bits=8, activation_bits=8, options=options)
    document = tmp_path / "out" / "allocation.json"
    text = document.read_text()
    for line in ('"weight_scheme": "asymmetric"', '"integer_kernels": true'):
        assert line in text
        text = text.replace(f"{line},", "").replace(f",\n  {line}", "")
    document.write_text(text)
    assert "integer_kernels" not in text and '"weight_scheme"' not in text
    applied = mpq_onnx.apply(images, document, tmp_path / "again.onnx", data=data)
    graph = onnx.load(applied.path).graph
    split = next(node for node in graph.node if node.op_type == "Split")
    assert {node.op_type for node in graph.node if split.output[0] in node.input} == {"Conv"}
    assert stored(applied.path)["wd_quantized"].dtype == np.uint8


def test_a_split_changes_nothing_but_kernels(images: Path, tmp_path: Path) -> None:
    """Four bits: the copies of a quantizer have its Clip."""
    result = mpq_onnx.allocate(
        images, "random?count=16", tmp_path / "out", weight_bits=4, activation_bits=4, options=QUICK
    )
    graph = onnx.load(result.model_path).graph
    split = next(node for node in graph.node if node.op_type == "Split")
    behind = [node.op_type for node in graph.node if set(split.output) & set(node.input)]
    assert behind == ["QuantizeLinear"] * 2
    x = np.random.default_rng(5).standard_normal((4, 8, 8, 8)).astype(np.float32)
    # The same file without the copies.
    plain = onnx.load(result.model_path)
    for name in split.output:
        chain = [next(node for node in plain.graph.node if name in node.input)]
        while chain[-1].op_type != "DequantizeLinear":
            chain.append(next(node for node in plain.graph.node if chain[-1].output[0] in node.input))
        assert [node.op_type for node in chain] == ["QuantizeLinear", "Clip", "DequantizeLinear"]
        for node in plain.graph.node:
            for index, each in enumerate(node.input):
                if each == chain[-1].output[0]:
                    node.input[index] = name
        for node in chain:
            plain.graph.node.remove(node)
    onnx.save(plain, tmp_path / "plain.onnx")
    exact = outputs(tmp_path / "plain.onnx", {"x": x}, optimize=False)
    np.testing.assert_array_equal(outputs(result.model_path, {"x": x}, optimize=False), exact)


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (8, 4), (8, None)])
def test_rows_are_looked_up_as_integers(
    rows: Path, row_data: str, tmp_path: Path, weight_bits: float, activation_bits: float | None
) -> None:
    result = mpq_onnx.allocate(
        rows, row_data, tmp_path / "out", weight_bits=weight_bits, activation_bits=activation_bits,
        options=QUICK,
    )  # fmt: skip
    graph = onnx.load(result.model_path).graph
    arrays = stored(result.model_path)
    gathers = [node for node in graph.node if node.op_type == "Gather"]
    tables = [arrays[node.input[0]] for node in gathers if arrays[node.input[0]].shape[-1] == 8]
    assert len(tables) == 3 and all(each.dtype in (np.int8, np.uint8) for each in tables)
    whole = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"} & arrays.keys()
    assert not any(arrays[name].shape in ((50, 8), (30, 8)) for name in whole)
    if weight_bits == activation_bits:
        assert kernels(result.model_path, tmp_path)["QLinearAdd"] == 2


def test_rows_are_what_a_dequantized_table_has(rows: Path, row_data: str, tmp_path: Path) -> None:
    """Against a file whose document knows nothing of integers that are looked up."""
    for bits in (8, None):
        folder = tmp_path / f"out{bits}"
        new = mpq_onnx.allocate(rows, row_data, folder, weight_bits=8, activation_bits=bits, options=QUICK)
        text = (folder / "allocation.json").read_text()
        (folder / "allocation.json").write_text(
            text.replace('"integer_kernels": true', '"integer_kernels": false')
        )
        old = mpq_onnx.apply(rows, folder / "allocation.json", folder / "old.onnx", data=row_data)
        gathered = {node.input[0] for node in onnx.load(old.path).graph.node if node.op_type == "Gather"}
        assert not gathered & stored(old.path).keys()
        ids = np.random.default_rng(7).integers(0, 30, (6, 5))
        feeds = {"ids": ids, "others": ids[::-1].copy()}
        exact = outputs(old.path, feeds, optimize=False)
        np.testing.assert_array_equal(outputs(new.model_path, feeds, optimize=False), exact)


def test_what_is_handed_off_looks_rows_up_in_real_values(rows: Path, row_data: str, tmp_path: Path) -> None:
    result = mpq_onnx.allocate(
        rows, row_data, tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    mpq_onnx.handoff(result.model_path, tmp_path / "handed", to="qcdq", data=row_data)
    handed = tmp_path / "handed" / "model.onnx"
    gathered = [node.input[0] for node in onnx.load(handed).graph.node if node.op_type == "Gather"]
    assert len(gathered) == 3 and not set(gathered) & stored(handed).keys()
    ids = np.random.default_rng(7).integers(0, 30, (6, 5))
    feeds = {"ids": ids, "others": ids}
    exact = outputs(result.model_path, feeds, optimize=False)
    np.testing.assert_allclose(outputs(handed, feeds, optimize=False), exact, atol=1e-6)


@pytest.mark.parametrize("levels", [2, 3, 16, 100, 128, 129, 200, 256])
def test_levels_of_scheme_int8_fit_into_it(levels: int) -> None:
    rng = np.random.default_rng(levels)
    low = -rng.exponential(1, 200).astype(np.float32)
    high = rng.exponential(1, 200).astype(np.float32)
    low[:50], high[50:100] = 0, 0
    scale, zero_point, used = WEIGHT_SCHEMES[INT8].fit(low, high, np.full(200, levels, np.float32))
    half = INT8_LEVELS // 2
    assert (0 - zero_point >= -half).all() and (used - 1 - zero_point <= half - 1).all()
    assert scale.dtype == np.float32
    # What the range asks for is within half a step of the levels.
    assert ((0 - zero_point) * scale <= low + scale / 2 + 1e-6).all()
    assert ((used - 1 - zero_point) * scale >= high - scale / 2 - 1e-6).all()


def test_neighbours_are_those_that_kernels_add() -> None:
    """Along input channels, along the taps of a kernel, and from one tap to the next; never across output channels."""
    weight = np.zeros((5, 4, 3, 3), np.int32)
    weight[0, 1, 2, 2], weight[0, 2, 2, 2] = (
        100,
        100,
    )  # channels 1 and 2 of one tap: kernels may begin anywhere
    weight[1, 0, 1, 0], weight[1, 0, 1, 1] = -90, -90
    weight[2, 0, 0, 0], weight[2, 3, 2, 2] = 127, 127  # far apart
    weight[3, 0, 0, 0], weight[3, 1, 0, 0] = 127, -127  # of two signs
    weight[4, 3, 0, 0], weight[4, 0, 0, 1] = 64, 65
    assert neighbour_sums(weight, 0).tolist() == [200, 180, 127, 127, 129]
    assert neighbour_sums(np.moveaxis(weight, 0, 1), 1).tolist()[0] == 200
    assert saturates(weight[4:], 0, NEIGHBOURS) and not saturates(weight[2:4], 0, NEIGHBOURS)
    assert not saturates(weight, 0, ALONE)
    assert saturates(weight[2:3], 0, None)
    assert neighbour_sums(np.full((2, 1), 127), 0).tolist() == [127, 127]


@pytest.mark.parametrize("rounding", ["nearest", "adaptive"])
def test_no_neighbours_saturate(images: Path, tmp_path: Path, rounding: str) -> None:
    """Whichever way weights are rounded: 255 * (the largest sum) fits into 16 bits."""
    options = mpq_onnx.AllocateOptions(method="uniform", rounding=rounding)
    result = mpq_onnx.allocate(
        images, "random?count=16", tmp_path / "out", weight_bits=8, activation_bits=8, options=options
    )
    arrays = stored(result.model_path)
    for name in ("wp", "wg", "ws", "wc"):
        integers = arrays[f"{name}_quantized"].astype(np.int32)
        sums = neighbour_sums(integers, 0)
        assert sums.max() <= LARGEST_SUM, name
        assert sums.max() > LARGEST_SUM - 16, name  # and the levels are used


@pytest.mark.parametrize("bits", [7, 8])
def test_extreme_values_are_what_unoptimized_onnxruntime_computes(tmp_path: Path, bits: float) -> None:
    """Weights of one size and sign, and inputs at the top: the sums that saturate first."""
    rng = np.random.default_rng(3)
    tensors = {
        "w": np.where(rng.random((16, 32, 3, 3)) < 0.5, 1, 0.98).astype(np.float32),
        "v": np.sign(rng.standard_normal((64, 16))).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["m"], "mean"),
        helper.make_node("Flatten", ["m"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "v"], ["y"], "gemm", transB=1),
    ]
    model = saved(
        tmp_path / "extreme.onnx",
        nodes,
        [("x", TensorProto.FLOAT, ["n", 32, 6, 6])],
        [("y", ["n", 64])],
        tensors,
    )
    x = np.where(rng.random((16, 32, 6, 6)) < 0.9, 1, 0).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    result = mpq_onnx.allocate(
        model,
        f"npz:{tmp_path / 'x.npz'}",
        tmp_path / "out",
        weight_bits=bits,
        activation_bits=8,
        options=QUICK,
    )
    assert stored(result.model_path)["w_quantized"].dtype == np.int8
    exact = outputs(result.model_path, {"x": np.ones((1, 32, 6, 6), np.float32)}, optimize=False)
    found = outputs(result.model_path, {"x": np.ones((1, 32, 6, 6), np.float32)})
    np.testing.assert_array_equal(found, exact)


def test_a_slower_file_says_so(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "interleaved_milliseconds", lambda runners, feeds: [2.0, 3.0])
    data = "random?count=16"
    result = mpq_onnx.allocate(
        images, data, tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    slower = [note for note in result.notes if "slower than float" in note]
    assert len(slower) == 1 and "3 ms" in slower[0] and "2 " in slower[0]
    applied = mpq_onnx.apply(images, tmp_path / "out" / "allocation.json", tmp_path / "a.onnx", data=data)
    assert [note for note in applied.notes if "slower than float" in note] == slower
    evaluated = mpq_onnx.evaluate(result.model_path, data, baseline=images)
    assert [note for note in evaluated.notes if "slower than float" in note] == slower
    assert not any("slower" in note for note in mpq_onnx.evaluate(images, data, baseline=images).notes)


def test_a_faster_file_says_nothing(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "interleaved_milliseconds", lambda runners, feeds: [3.0, 2.0])
    result = mpq_onnx.allocate(
        images, "random?count=16", tmp_path / "out", weight_bits=8, activation_bits=8, options=QUICK
    )
    assert not any("slower" in note for note in result.notes)
