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
from test_handoff import tool

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
@pytest.mark.parametrize(
    "bits", [3, pytest.param(3.5, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow)]
)
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


@pytest.mark.parametrize("form", ["qonnx", "qcdq"])
def test_qonnx_itself_sees_the_levels_of_every_channel(form: str, tmp_path: Path) -> None:
    source, data = opposite_channels("Gemm", tmp_path / "m.onnx")
    made = mpq_onnx.allocate(
        source, data, tmp_path / "out", weight_bits=3, activation_bits=8, options=with_widths(3)
    )
    mpq_onnx.handoff(made.model_path, tmp_path / form, to=form, data=data)
    assert tool("run_qonnx.py", tmp_path / form, form)["difference"] < 1e-5


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


def drawing(kind: str) -> tuple[list[NodeProto], str]:
    """Nodes between r and z, and the one of them that draws."""
    node, add = helper.make_node, helper.make_node("Add", ["r", "e"], ["z"], "add")
    if kind == "Dropout":
        return [node("Dropout", ["r", "half", "yes"], ["z"], "drop")], "drop (Dropout)"
    if kind == "branches":
        inner = [node("RandomNormalLike", ["r"], ["e"], "noise"), add]
        made = [helper.make_tensor_value_info("z", FLOAT, ["n", 12])]
        branch = helper.make_graph(inner, "branch", [], made)
        other = helper.make_graph([node("Identity", ["r"], ["z"], "same")], "other", [], made)
        condition = [
            node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
            node("IsNaN", ["sum"], ["bad"], "isnan"),
        ]
        return [
            *condition,
            node("If", ["bad"], ["z"], "choose", then_branch=other, else_branch=branch),
        ], "noise (Random"
    if kind == "Multinomial":
        drawn = [
            node("Multinomial", ["r"], ["i"], "draw", sample_size=12),
            node("Cast", ["i"], ["e"], "cast", to=FLOAT),
        ]
        return [*drawn, add], "draw (Multinomial)"
    made = {
        "RandomNormalLike": node(kind, ["r"], ["e"], "noise"), "RandomUniform": node(kind, [], ["e"], "noise", shape=[12]),
        "Bernoulli": node(kind, ["chances"], ["e"], "noise"),
    }[kind]  # fmt: skip
    return [made, add], f"noise ({kind})"


def saved_between(path: Path, between: list[NodeProto], outputs: dict[str, Shape] | None = None) -> Path:
    """A network of two products with `between` standing between them, from r to z."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], "first"), helper.make_node("Relu", ["h"], ["r"], "relu"), *between,
        helper.make_node("Gemm", ["z", "v"], ["y"], "last"),
    ]  # fmt: skip
    return saved(
        path, nodes, ["n", 8], {"y": ["n", 3], **(outputs or {})}, w=weights(8, 12), v=weights(12, 3), half=np.float32(0.5),
        yes=np.array(True), chances=np.full(12, 0.5, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["RandomNormalLike", "RandomUniform", "Bernoulli", "Multinomial", "Dropout", "branches"]
)
def test_networks_that_draw_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    between, named = drawing(kind)
    source = saved_between(tmp_path / "m.onnx", between)
    result = run_inside("export", source, "-o", tmp_path / "float.onnx")
    assert_one_line(result, 3, named, "export the network in evaluation mode")
    assert "please report" not in result.stderr
    if kind == "branches":
        return
    result = run_inside(
        "allocate",
        source,
        "--data",
        "random?count=64",
        "--weight-bits",
        8,
        "--activation-bits",
        8,
        "-o",
        tmp_path / "out",
    )
    assert_one_line(result, 3, kind, named.split()[0], "export the network in evaluation mode")


def test_a_dropout_that_an_input_switches_is_named_with_what_to_do(tmp_path: Path) -> None:
    source = saved_between(
        tmp_path / "m.onnx", [helper.make_node("Dropout", ["r", "half", "training"], ["z"], "drop")]
    )
    model = onnx.load(source)
    model.graph.input.append(helper.make_tensor_value_info("training", TensorProto.BOOL, []))
    onnx.save(model, source)
    result = run_inside("export", source, "-o", tmp_path / "float.onnx")
    assert_one_line(result, 3, "drop (Dropout)", "--set training=0")
    result = run_inside("export", source, "-o", tmp_path / "float.onnx", "--set", "training=0")
    assert result.returncode == 0, result.stderr
    assert [node.op_type for node in onnx.load(tmp_path / "float.onnx").graph.node] == [
        "Gemm",
        "Relu",
        "Gemm",
    ]


def test_chance_that_reaches_no_output_is_none(tmp_path: Path) -> None:
    node = helper.make_node
    between = [
        node("RandomNormalLike", ["r"], ["noise"], "noise"),
        node("Relu", ["noise"], ["unread"], "unread"),
        node("Shape", ["noise"], ["lengths"], "lengths"),
        node("Expand", ["r", "lengths"], ["z"], "expand"),
    ]
    source = saved_between(tmp_path / "m.onnx", between)
    assert mpq_onnx.export(source, tmp_path / "float.onnx").largest_difference < 1e-5
    mpq_onnx.allocate(
        source, inputs(64, 8), tmp_path / "out", weight_bits=8, activation_bits=8, options=with_widths(8)
    )


Limits = tuple[float | None, float | None]


def limiting(name: str, limits: Limits | str, opset: int) -> tuple[NodeProto, dict[str, np.ndarray]]:
    """A Clip of `name` to `limits`, or the operator of that name; its output has a stroke more."""
    if isinstance(limits, str):
        return helper.make_node(limits, [name], [f"{name}'"], f"{limits} of {name}"), {}
    said = {part: value for part, value in zip(("min", "max"), limits, strict=True) if value is not None}
    if opset < 11:
        return helper.make_node("Clip", [name], [f"{name}'"], f"clip of {name}", **said), {}
    given = [f"{name} {part}" if part in said else "" for part in ("min", "max")]
    node = helper.make_node("Clip", [name, *given], [f"{name}'"], f"clip of {name}")
    return node, {f"{name} {part}": np.float32(value) for part, value in said.items()}


@pytest.mark.parametrize(
    "opset, kind", [(7, FLOAT), (10, FLOAT), (13, FLOAT), (13, TensorProto.FLOAT16), (22, FLOAT)]
)
@pytest.mark.parametrize(
    "limits",
    [
        ((0.0, 0.5), (0.6, 1.0)), ((-1.0, -0.5), "Relu"), ((None, -0.2), (0.3, None)), ((0.6, 1.0), (-1.0, -0.5), (0.0, 6.0)),
        ((None, -0.2), "Relu", (0.6, 1.0)), ("Relu", (None, -0.3)), ((-0.5, -1.0), (0.0, 0.5)), ((0.5, -0.5), "Relu"),
        ((0.0, 6.0), (0.5, -0.5), (0.6, 1.0)), ((-1.0, 0.5), (-0.5, 1.0)),
    ],
)  # fmt: skip
def test_limits_that_exclude_each_other(
    limits: tuple[Limits | str, ...], opset: int, kind: int, tmp_path: Path
) -> None:
    """The last one has the last word; of limits the wrong way round the upper one counts."""
    nodes, tensors = [helper.make_node("MatMul", ["x", "w"], ["h"], "first")], {"w": 2 * weights(8, 16)}
    for each in limits:
        node, found = limiting(nodes[-1].output[0], each, opset)
        nodes, tensors = [*nodes, node], {**tensors, **found}
    nodes.append(helper.make_node("Add", [nodes[-1].output[0], "shift"], ["y"], "shift"))
    tensors["shift"] = np.linspace(-1, 1, 16).astype(np.float32)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    source = saved(
        tmp_path / "m.onnx", nodes, ["n", 8], {"y": ["n", 16]}, opset, kind=kind,
        **{name: each.astype(dtype) for name, each in tensors.items()},
    )  # fmt: skip
    try:
        ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    except ort.capi.onnxruntime_pybind11_state.Fail:
        pytest.skip("onnxruntime refuses limits the wrong way round before opset 11, its own too")
    mpq_onnx.export(source, tmp_path / "float.onnx")
    x = inputs(32, 8)["x"].astype(dtype)
    wanted, found = (answers(path, {"x": x})[0] for path in (source, tmp_path / "float.onnx"))
    np.testing.assert_allclose(found, wanted, atol=1e-5 if kind == FLOAT else 5e-3)


def test_text_inputs_are_refused_with_what_to_do(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "LabelEncoder", ["s"], ["i"], "encoder", domain="ai.onnx.ml", keys_strings=["a", "b"], values_int64s=[0, 1],
            default_int64=0,
        ),
        helper.make_node("Gather", ["table", "i"], ["rows"], "rows"),
        helper.make_node("Add", ["rows", "x"], ["sum"], "sum"),
        helper.make_node("Gemm", ["sum", "w"], ["y"], "product"),
    ]  # fmt: skip
    source = saved(
        tmp_path / "m.onnx",
        nodes,
        ["n", 4],
        {"y": ["n", 3]},
        domains=["ai.onnx.ml"],
        table=weights(2, 4),
        w=weights(4, 3),
    )
    model = onnx.load(source)
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.STRING, ["n"]))
    onnx.save(model, source)
    result = run_inside("export", source, "-o", tmp_path / "float.onnx")
    assert_one_line(result, 3, "input s is text", "LabelEncoder", "export the network behind")
    assert "object" not in result.stderr
    data = {"s": np.array(["a", "b"] * 4), "x": weights(8, 4)}
    for ask in (
        lambda: mpq_onnx.evaluate(source, data),
        lambda: mpq_onnx.handoff(source, tmp_path / "json", to="json"),
        lambda: mpq_onnx.export(source, tmp_path / "float.onnx", values={"s": 1}),
    ):
        with pytest.raises(mpq_onnx.MpqOnnxError, match=r"s:? is text.*export the network behind"):
            ask()
    with pytest.raises(mpq_onnx.MpqOnnxError, match=r"--set s: holds <U1, not numbers"):
        mpq_onnx.export(source, tmp_path / "float.onnx", values={"s": np.array(["a", "b"])})
    np.savez(tmp_path / "text.npz", x=np.full((8, 8), "0.5"))
    numeric = saved_between(tmp_path / "n.onnx", [helper.make_node("Identity", ["r"], ["z"], "same")])
    with pytest.raises(mpq_onnx.MpqOnnxError, match="input x holds text, not numbers"):
        mpq_onnx.evaluate(numeric, f"npz:{tmp_path / 'text.npz'}")
