"""A network of standard operators and the same network in small operators quantize alike."""

import math
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper
from small_ops import SmallOps

import mpq_onnx
from mpq_onnx.ops.composites import DOMAIN
from mpq_onnx.passes.canonicalize import canonicalize

SIDE, CHANNELS, WIDTH = 6, 4, 8
OPTIONS = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest")


def parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    sizes = {
        "ig": CHANNELS,
        "ib": CHANNELS,
        "gg": CHANNELS,
        "gb": CHANNELS,
        "lg": WIDTH,
        "lb": WIDTH,
        "rg": WIDTH,
    }
    vectors = {name: rng.uniform(0.5, 1.5, size).astype(np.float32) for name, size in sizes.items()}
    return vectors | {
        "stem": weights(rng, CHANNELS, 3, 3, 3),
        "inner": weights(rng, CHANNELS, CHANNELS, 3, 3),
        "up": weights(rng, CHANNELS, WIDTH),
        "mix": weights(rng, WIDTH, WIDTH),
        "last": weights(rng, WIDTH, 5),
        "out": weights(rng, 5, 5),
        "rows": np.array([0, CHANNELS], np.int64),
    }


def standard() -> onnx.ModelProto:
    """The operators by name; Swish and RMSNormalization are those of opset 24."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "stem"], ["a0"], pads=[1] * 4),
        node("InstanceNormalization", ["a0", "ig", "ib"], ["a1"], epsilon=1e-4),
        node("HardSwish", ["a1"], ["a2"]),
        node("Conv", ["a2", "inner"], ["a3"], pads=[1] * 4),
        node("GroupNormalization", ["a3", "gg", "gb"], ["a4"], num_groups=2, epsilon=1e-4),
        node("Swish", ["a4"], ["a5"]),
        node("GlobalAveragePool", ["a5"], ["a6"]),
        node("Reshape", ["a6", "rows"], ["a7"]),
        node("MatMul", ["a7", "up"], ["a8"]),
        node("LayerNormalization", ["a8", "lg", "lb"], ["a9"], axis=-1, epsilon=1e-4),
        node("Gelu", ["a9"], ["b0"]),
        node("MatMul", ["b0", "mix"], ["b1"]),
        node("RMSNormalization", ["b1", "rg"], ["b2"], axis=-1, epsilon=1e-4),
        node("MatMul", ["b2", "last"], ["b3"]),
        node("Softmax", ["b3"], ["b4"], axis=-1),
        node("MatMul", ["b4", "out"], ["y"]),
    ]
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])], [("y", ["n", 5])], parameters(), 24
    )
    model.ir_version = 11
    return model


def small() -> onnx.ModelProto:
    """The same in small operators of opset 13."""
    g = SmallOps(lambda _: 0, 13)
    g.initializers.update(parameters())

    def normalized(x: str, axes: list[int]) -> str:
        centred = g.node("Sub", x, g.reduced("ReduceMean", x, axes))
        variance = g.reduced("ReduceMean", g.node("Mul", centred, centred), axes)
        return g.node("Div", centred, g.node("Sqrt", g.node("Add", variance, g.constant(1e-4))))

    def per_channel(x: str, scale: str, bias: str) -> str:
        beside = g.constant([1, CHANNELS, 1, 1], np.int64)
        scaled = g.node("Mul", x, g.node("Reshape", scale, beside))
        return g.node("Add", scaled, g.node("Reshape", bias, beside))

    y = per_channel(normalized(g.node("Conv", "x", "stem", pads=[1] * 4), [2, 3]), "ig", "ib")
    clipped = g.node("Clip", g.node("Add", y, g.constant(3.0)), _scalar(g, 0.0), _scalar(g, 6.0))
    y = g.node("Div", g.node("Mul", y, clipped), g.constant(6.0))
    y = g.node("Conv", y, "inner", pads=[1] * 4)
    groups = normalized(g.node("Reshape", y, g.constant([0, 2, -1], np.int64)), [2])
    y = per_channel(g.node("Reshape", groups, g.constant([0, CHANNELS, SIDE, SIDE], np.int64)), "gg", "gb")
    y = g.node("Mul", y, g.node("Sigmoid", y))
    y = g.node("MatMul", g.node("Reshape", g.node("GlobalAveragePool", y), "rows"), "up")
    y = g.node("Add", g.node("Mul", normalized(y, [1]), "lg"), "lb")
    error = g.node("Erf", g.node("Div", y, g.constant(math.sqrt(2))))
    y = g.node("Mul", g.node("Mul", y, g.node("Add", error, g.constant(1.0))), g.constant(0.5))
    y = g.node("MatMul", y, "mix")
    mean_square = g.reduced("ReduceMean", g.node("Pow", y, g.constant(2.0)), [1])
    root = g.node("Sqrt", g.node("Add", mean_square, g.constant(1e-4)))
    y = g.node("Mul", g.node("Mul", y, g.node("Reciprocal", root)), "rg")
    y = g.node("MatMul", y, "last")
    exponential = g.node("Exp", g.node("Sub", y, g.node("ReduceMax", y, axes=[1])))
    y = g.node("MatMul", g.node("Div", exponential, g.reduced("ReduceSum", exponential, [1])), "out")
    return g.model(y, (1, 3, SIDE, SIDE), (1, 5))


def _scalar(g: SmallOps, value: float) -> str:
    name = g.name()
    g.initializers[name] = np.array(value, np.float32)
    return name


def without_names(model: ir.Model) -> list[tuple[object, ...]]:
    """Nodes in order; tensors as the place where they are made, constants as their values."""
    places = {value: f"input {index}" for index, value in enumerate(model.graph.inputs)}
    nodes: list[tuple[object, ...]] = []
    for place, node in enumerate(model.graph):
        inputs: list[object] = []
        for value in node.inputs:
            assert value is not None
            constant = value.const_value
            inputs.append(places[value] if constant is None else constant.numpy().round(6).tolist())
        attributes = {
            name: float(f"{each.as_float():.6g}") if each.type == ir.AttributeType.FLOAT else each.value
            for name, each in node.attributes.items()
        }
        places.update({value: f"node {place}.{index}" for index, value in enumerate(node.outputs)})
        nodes.append((node.domain, node.op_type, inputs, attributes))
    return nodes


def test_both_have_one_canonical_form() -> None:
    named, written = (canonicalize(ir.from_proto(model())) for model in (standard, small))
    assert without_names(written) == without_names(named)
    assert {node.op_type for node in named.graph if node.domain == DOMAIN} == {"Swish", "RMSNormalization"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mpq_onnx.AllocateResult]:
    folder = tmp_path_factory.mktemp("fused")
    found = {}
    for form in (standard, small):
        source, exported = folder / f"{form.__name__}.onnx", folder / f"{form.__name__}_canonical.onnx"
        onnx.save(form(), source)
        mpq_onnx.export(str(source), exported)
        found[form.__name__] = mpq_onnx.allocate(
            exported,
            "random?count=48",
            folder / form.__name__,
            weight_bits=8,
            activation_bits=8,
            options=OPTIONS,
        )
    return found


def test_both_have_the_same_sites_and_errors(results: dict[str, mpq_onnx.AllocateResult]) -> None:
    def sites(result: mpq_onnx.AllocateResult) -> list[tuple[object, ...]]:
        return [
            (each.op_type, each.weight_bits, each.macs, each.activation_bits, each.activation_elements)
            for each in result.chosen.allocation.nodes
        ]

    assert sites(results["small"]) == sites(results["standard"])
    ratios = [[each.sqnr for each in result.nodes] for result in results.values()]
    np.testing.assert_allclose(ratios[0], ratios[1], atol=0.5)


def test_a_composite_is_quantized_at_its_output(results: dict[str, mpq_onnx.AllocateResult]) -> None:
    quantized = {
        each.op_type for each in results["small"].chosen.allocation.nodes if each.activation_bits is not None
    }
    assert {"Swish", "RMSNormalization", "Gelu", "HardSwish", "Softmax"} <= quantized
    assert "GroupNormalization" not in quantized, (
        "a normalization of channels and its activation function are one"
    )
    assert not quantized & {"Mul", "Div", "Sqrt", "ReduceMean", "Sub", "Add", "Erf", "Sigmoid", "Clip"}


def test_files_with_functions_run_and_go_to_tools_without_them(
    results: dict[str, mpq_onnx.AllocateResult], tmp_path: Path
) -> None:
    file = results["small"].model_path
    onnx.checker.check_model(onnx.load(file), full_check=True)
    assert {function.name for function in onnx.load(file).functions} == {"Swish", "RMSNormalization"}
    handed = mpq_onnx.handoff(file, tmp_path / "qcdq", to="qcdq")
    assert not onnx.load(tmp_path / "qcdq" / "model.onnx").functions
    assert handed.largest_difference is not None and handed.largest_difference < 1e-3
