"""What testers found with networks of their own: channels of one scale, products of nothing, chance, limits, text."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.graph.model_file import save_model
from mpq_onnx.handoff_targets import TARGETS, Target
from mpq_onnx.handoff_targets.layers import LayerTable

FLOAT = TensorProto.FLOAT
Shape = Iterable[int | str]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return (rng(seed).normal(0, 1, shape) / np.sqrt(shape[0])).astype(np.float32)


def saved(
    path: Path,
    nodes: list[NodeProto],
    shape: Shape,
    outputs: dict[str, Shape],
    opset: int = 17,
    domains: Iterable[str] = (),
    kind: int = FLOAT,
    **tensors: np.ndarray,
) -> Path:
    """A file whose input is x; all its floats are of type `kind`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(name, kind, each) for name, each in outputs.items()],
        [numpy_helper.from_array(each, name) for name, each in tensors.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 2) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def inputs(count: int, *shape: int, seed: int = 1) -> dict[str, np.ndarray]:
    return {"x": rng(seed).normal(0, 1, (count, *shape)).astype(np.float32)}


def answers(path: object, data: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": data["x"]})


def stored(path: object) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}


def with_widths(weight_bits: float, **options: Any) -> mpq_onnx.AllocateOptions:
    return mpq_onnx.AllocateOptions(
        effort="quick",
        bit_choices=(weight_bits,),
        activation_bit_choices=(8,),
        weight_observer="minmax",
        **options,
    )


def opposite(*shape: int, axis: int) -> np.ndarray:
    """Channels v and -v, of which v has few negative numbers: one scale, and zero at either end of the levels."""
    v = np.abs(rng(0).integers(1, 40, shape) / 8).astype(np.float32)
    v.reshape(-1)[::5] *= -0.2
    return np.concatenate([-v, v], axis)


def opposite_channels(op_type: str, path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A network whose first product has two output channels of one scale."""
    node, last = helper.make_node, helper.make_node("MatMul", ["r", "u"], ["y"], "last")
    if op_type in ("Conv", "ConvTranspose"):
        w = opposite(1, 3, 2, 2, axis=0) if op_type == "Conv" else opposite(3, 1, 2, 2, axis=1)
        nodes = [
            node(op_type, ["x", "w"], ["h"], "first"),
            node("GlobalAveragePool", ["h"], ["g"], "pool"),
            node("Flatten", ["g"], ["r"], "flatten"),
        ]
        data = inputs(128, 3, 6, 6)
    else:
        w = opposite(12, 1, axis=1)
        nodes = [node(op_type, ["x", "w"], ["h"], "first"), node("Relu", ["h"], ["r"], "relu")]
        data = inputs(128, 12)
    shape = ["n", *data["x"].shape[1:]]
    return saved(path, [*nodes, last], shape, {"y": ["n", 3]}, w=w, u=weights(2, 3)), data


@pytest.mark.parametrize(
    "granularity, storage", [("layer", "int8"), ("layer", "packed"), ("channel", "int8")]
)
@pytest.mark.parametrize("bits", [3, 3.5, 6])
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_channels_of_one_scale_keep_their_levels(
    op_type: str, bits: float, granularity: str, storage: str, tmp_path: Path
) -> None:
    source, data = opposite_channels(op_type, tmp_path / "m.onnx")
    file = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=bits, activation_bits=8,
        options=with_widths(bits, granularity=granularity, storage=storage),
    ).model_path  # fmt: skip
    scale = stored(file)["w_scale"]
    assert scale.shape == (2,) and scale[0] == scale[1]
    levels = round(2**bits)
    for form in ("qcdq", "qonnx"):
        handed = mpq_onnx.handoff(file, tmp_path / form, to=form, data=data)
        assert handed.largest_difference == 0 and "edge" not in str(handed.notes)
        name = "w_dequantized_q" + ("dq" if form == "qcdq" else "uant")
        tensors = stored(tmp_path / form / "model.onnx")
        assert sorted(tensors[f"{name}_zero_point"].reshape(-1))[0] < levels / 2
        assert sorted(tensors[f"{name}_zero_point"].reshape(-1))[1] > levels / 2
    np.testing.assert_array_equal(
        *(answers(each, data)[0] for each in (file, tmp_path / "qcdq" / "model.onnx"))
    )
    mpq_onnx.handoff(file, tmp_path / "json", to="json", data=data)
    row = LayerTable.load(tmp_path / "json" / "layers.json").layers[0]
    assert row.weight_bits == pytest.approx(np.log2(levels))
    assert row.weight_range == pytest.approx(scale[0] * (levels - 1))


def test_one_quantizer_for_all_channels_is_written_once(tmp_path: Path) -> None:
    source, data = opposite_channels("Gemm", tmp_path / "m.onnx")
    file = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=4, activation_bits=8,
        options=with_widths(4, weight_scheme="symmetric", weight_scales="tensor"),
    ).model_path  # fmt: skip
    tensors = stored(file)
    assert tensors["w_scale"].shape == tensors["w_zero_point"].shape == ()
    assert mpq_onnx.handoff(file, tmp_path / "qonnx", to="qonnx", data=data).largest_difference == 0


def network(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """An allocated file, and data."""
    source, data = opposite_channels("Gemm", tmp_path / "m.onnx")
    options = with_widths(4)
    made = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=4, activation_bits=8, options=options
    )
    return Path(made.model_path), data


def changing(tensor: str, change: Callable[[np.ndarray], np.ndarray]) -> Target:
    """A form that changes one tensor of the file."""

    def write(bundle: Any, folder: Path) -> list[str]:
        save_model(bundle.model, folder / "model.onnx")
        proto = onnx.load(folder / "model.onnx")
        for each in proto.graph.initializer:
            if each.name == tensor:
                each.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(each)), tensor))
        onnx.save(proto, folder / "model.onnx")
        return []

    return Target(write, runs_in_onnxruntime=True)


@pytest.mark.parametrize("tensor", ["w_quantized", "x_zero_point"])
def test_a_form_that_computes_something_else_is_not_written(
    tensor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, data = network(tmp_path)
    np.savez(tmp_path / "data.npz", **data)
    monkeypatch.setitem(TARGETS, "wrong", changing(tensor, lambda array: (array // 2).astype(array.dtype)))
    with pytest.raises(
        mpq_onnx.MpqOnnxError, match=r"not compute the same.*output y differs by.*edges explain"
    ):
        mpq_onnx.handoff(file, tmp_path / "handed", to="wrong", data=data)
    result = run_inside(
        "handoff", file, "--to", "wrong", "--data", f"npz:{tmp_path / 'data.npz'}", "-o", tmp_path / "handed"
    )
    assert_one_line(result, 3, "does not compute the same", "output y", "please report")
    assert not list((tmp_path / "handed").glob("*"))


def test_no_levels_are_clipped_in_silence(tmp_path: Path) -> None:
    """An allocation that says fewer levels than a weight has."""
    file, data = network(tmp_path)
    proto = onnx.load(file)
    for each in proto.metadata_props:
        each.value = each.value.replace('"weight_bits": 4.0', '"weight_bits": 3.0')
    onnx.save(proto, tmp_path / "changed.onnx")
    for form in ("qcdq", "qonnx"):
        with pytest.raises(
            mpq_onnx.MpqOnnxError, match=r"weight [uw]: 8 levels do not hold its integers.*make it again"
        ):
            mpq_onnx.handoff(tmp_path / "changed.onnx", tmp_path / form, to=form, data=data)


def test_what_rounding_edges_move_is_said(tmp_path: Path) -> None:
    """QONNX adds the zero point first: a half and 1 is rounded to 2, a half is rounded to 0."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"], "dequantize"),
        helper.make_node("DequantizeLinear", ["wq", "step"], ["w"], "weight"),
        helper.make_node("MatMul", ["d", "w"], ["y"], "product"),
    ]
    file = saved(
        tmp_path / "m.onnx", nodes, ["n", 8], {"y": ["n", 4]}, one=np.float32(1), zero=np.uint8(1), step=np.float32(0.1),
        wq=rng().integers(-9, 9, (8, 4)).astype(np.int8),
    )  # fmt: skip
    data = {"x": (rng(2).integers(0, 40, (16, 8)) / 2).astype(np.float32)}
    handed = mpq_onnx.handoff(file, tmp_path / "qonnx", to="qonnx", data=data)
    assert handed.largest_difference is not None and handed.largest_difference > 0.1
    assert [note for note in handed.notes if "rounding edge: y" in note]
    handed = mpq_onnx.handoff(file, tmp_path / "whole", to="qonnx", data={"x": np.floor(data["x"])})
    assert handed.largest_difference == 0 and "edge" not in str(handed.notes)


def void_products(kind: str, path: Path) -> Path:
    """A network of two products, and of one more that multiplies nothing."""
    node = helper.make_node
    body = [node("Gemm", ["x", "w"], ["h"], "first"), node("Relu", ["h"], ["r"], "relu")]
    last = node("Gemm", ["r", "v"], ["o"], "last")
    given = {"w": weights(8, 12), "v": weights(12, 3), "e": np.zeros((12, 0), np.float32)}
    outputs: dict[str, Shape] = {"empty": ["n", 0], "o": ["n", 3]}  # the empty one first
    if kind in ("Gemm", "MatMul"):
        return saved(
            path, [*body, node(kind, ["r", "e"], ["empty"], "void"), last], ["n", 8], outputs, **given
        )
    if kind == "summed":  # over no products: zeros
        given |= {"e": np.zeros((0, 3), np.float32), "start": np.array([0]), "axis": np.array([1])}
        nodes = [
            *body, node("Slice", ["r", "start", "start", "axis"], ["none"], "slice"), last,
            node("MatMul", ["none", "e"], ["zeros"], "void"), node("Add", ["o", "zeros"], ["y"], "add"),
        ]  # fmt: skip
        return saved(path, nodes, ["n", 8], {"y": ["n", 3]}, **given)
    if kind == "activations":
        given |= {"start": np.array([0]), "axis": np.array([1])}
        nodes = [
            *body, node("Slice", ["r", "start", "start", "axis"], ["none"], "slice"), last,
            node("Transpose", ["none"], ["turned"], "turn", perm=[1, 0]), node("MatMul", ["none", "turned"], ["zeros"], "void"),
            node("ReduceMean", ["zeros"], ["mean"], "mean"), node("Add", ["o", "mean"], ["y"], "add"),
        ]  # fmt: skip
        del given["e"]
        return saved(path, nodes, ["n", 8], {"y": ["n", 3]}, **given)
    assert kind == "ConvTranspose"
    nodes = [
        node("Reshape", ["x", "image"], ["i"], "image"), node("Conv", ["i", "w"], ["h"], "first"),
        node("Relu", ["h"], ["r"], "relu"), node("ConvTranspose", ["r", "e"], ["empty"], "void"),
        node("Flatten", ["r"], ["f"], "flatten"), node("Gemm", ["f", "v"], ["o"], "last"),
    ]  # fmt: skip
    given = {
        "image": np.array([0, 2, 2, 2]), "w": weights(3, 2, 1, 1), "v": weights(12, 3), "e": np.zeros((3, 0, 1, 1), np.float32)
    }  # fmt: skip
    return saved(path, nodes, ["n", 8], {"empty": ["n", 0, 2, 2], "o": ["n", 3]}, **given)


@pytest.mark.parametrize("granularity", ["layer", "channel"])
@pytest.mark.parametrize("kind", ["Gemm", "MatMul", "summed", "activations", "ConvTranspose"])
def test_products_of_nothing_cost_nothing(kind: str, granularity: str, tmp_path: Path) -> None:
    source, data = void_products(kind, tmp_path / "m.onnx"), inputs(64, 8)
    mpq_onnx.export(source, tmp_path / "float.onnx")
    made = mpq_onnx.allocate(
        tmp_path / "float.onnx", data, tmp_path / "out", weight_bits=6, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick", granularity=granularity),
    )  # fmt: skip
    assert made.mirror_check is not None and made.mirror_check.same_predictions > 0.9
    assert [entry.node for entry in made.chosen.allocation.nodes if entry.weight_bits] == ["first", "last"]
    wanted, found = answers(source, data)[-1], answers(made.model_path, data)[-1]
    assert ((wanted - found) ** 2).sum() < 1e-2 * (wanted**2).sum()
    file = mpq_onnx.allocate(
        tmp_path / "float.onnx", data, tmp_path / "whole", weight_bits=6, activation_bits=8, options=with_widths(6)
    ).model_path  # fmt: skip
    for form in ("qonnx", "qcdq"):
        assert mpq_onnx.handoff(file, tmp_path / form, to=form, data=data).largest_difference == 0
    noisy = mpq_onnx.allocate_energy(
        tmp_path / "float.onnx", data, tmp_path / "noisy", energy_per_mac=100,
        options=mpq_onnx.EnergyOptions(("shot",), effort="quick", repeats=1),
    )  # fmt: skip
    assert [entry.node for entry in noisy.chosen.allocation.nodes] == ["first", "last"]


def test_what_is_empty_alone_is_no_network_to_quantize(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "e"], ["y"], "void")]
    source = saved(tmp_path / "m.onnx", nodes, ["n", 8], {"y": ["n", 0]}, e=np.zeros((8, 0), np.float32))
    made = mpq_onnx.allocate(
        source, inputs(64, 8), tmp_path / "out", weight_bits=6, activation_bits=8, options=with_widths(6)
    )
    assert not [entry for entry in made.chosen.allocation.nodes if entry.weight_bits]
    with pytest.raises(mpq_onnx.MpqOnnxError, match="no Conv, ConvTranspose, Gemm"):
        mpq_onnx.handoff(made.model_path, tmp_path / "json", to="json")


def test_rows_of_an_empty_table(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], "whole", to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "zeros"], ["none"], "none"),
        helper.make_node("ReduceSum", ["none"], ["sum"], "sum"),
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["o"], "last"),
        helper.make_node("Add", ["o", "sum"], ["y"], "add"),
        helper.make_node("Gather", ["widthless", "whole"], ["rows"], "rows"),
        helper.make_node("MatMul", ["rows", "e"], ["more"], "void"),
    ]
    source = saved(
        tmp_path / "m.onnx", nodes, ["n", 8], {"y": ["n", 3], "more": ["n", 8, 2]}, w=weights(8, 12), v=weights(12, 3),
        table=np.zeros((0, 4), np.float32), zeros=np.zeros(0, np.int64), widthless=np.zeros((9, 0), np.float32),
        e=np.zeros((0, 2), np.float32),
    )  # fmt: skip
    data = {"x": rng(3).integers(0, 9, (64, 8)).astype(np.float32)}
    mpq_onnx.export(source, tmp_path / "float.onnx")
    made = mpq_onnx.allocate(
        tmp_path / "float.onnx",
        data,
        tmp_path / "out",
        weight_bits=6,
        activation_bits=8,
        options=with_widths(6),
    )
    assert made.chosen.evaluation.comparison.output_sqnr > 20
    for form in ("qonnx", "qcdq", "csv"):
        mpq_onnx.handoff(made.model_path, tmp_path / form, to=form, data=data)
