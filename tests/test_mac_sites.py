"""What noise is told about multiply-accumulate nodes: ranges read from QDQ graphs, MACs, channels."""

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from conftest import make_model
from onnx import TensorProto, helper
from test_quantized_graph import CASES, quantize

import mpq_onnx
from mpq_onnx.arithmetic.quantization import levels_of
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.metadata import METADATA_ALLOCATION
from mpq_onnx.graph.placement.mac_sites import mac_sites
from mpq_onnx.graph.placement.quantizer_ranges import output_quantizer, weight_levels


def sites_of(model: Path, spec: str, case: str, storage: str = "int8"):
    _, graph, _, _ = quantize(model, spec, *CASES[case], storage)
    allocation = Allocation.parse(graph.metadata_props[METADATA_ALLOCATION], "test")
    levels = weight_levels(
        {node.weight: node.weight_bits for node in allocation.nodes if node.weight}, "asymmetric"
    )
    values = {node.outputs[0].name: node.outputs[0] for node in graph.graph}
    shapes = dict.fromkeys((*values, *(value.name for value in graph.graph.inputs)), (1, 4, 4, 4))
    return graph, {site.node: site for site in mac_sites(graph, shapes, levels)}


@pytest.mark.parametrize("case", ["mixed channels", "eight", "wide"])
def test_ranges_are_those_of_the_quantizers(case: str, cnn_file: Path, image_file: Path) -> None:
    graph, sites = sites_of(cnn_file, f"npz:{image_file}?count=32", case)
    constants = {name: value.const_value.numpy() for name, value in graph.graph.initializers.items()}
    widths, activation_bits = CASES[case]
    for tensor, node in (
        ("stem.weight", "stem"),
        ("inner.weight", "inner"),
        ("depthwise.weight", "depthwise"),
    ):
        site = sites[node]
        (found,) = (value for name, value in constants.items() if name == f"{tensor}_scale")
        bits = np.broadcast_to(widths(type("Site", (), {"channels": site.channels})), (site.channels,))
        steps = np.array([levels_of(width) - 1 for width in bits])
        np.testing.assert_allclose(site.weight_range, found * steps, rtol=1e-6)
    # inner reads relu0 directly, depthwise reads relu1 through MaxPool.
    for node, source in (("inner", "r0"), ("depthwise", "r1")):
        scale = float(constants[f"{source}_scale"])
        assert sites[node].input_range == pytest.approx(scale * (levels_of(activation_bits) - 1), rel=1e-4)


def test_products_of_activations_read_both_ranges(encoder_file: Path) -> None:
    graph, sites = sites_of(encoder_file, "random?count=16", "mixed channels")
    constants = {name: value.const_value.numpy() for name, value in graph.graph.initializers.items()}
    steps = levels_of(CASES["mixed channels"][1]) - 1
    mix = sites["mix"]
    assert mix.channels == 1 and len(mix.weight_range) == 1
    assert mix.input_range == pytest.approx(float(constants["attention_scale"]) * steps, rel=1e-4)
    assert mix.weight_range[0] == pytest.approx(float(constants["v_scale"]) * steps, rel=1e-4)


def test_the_output_quantizer_lies_behind_the_activation(cnn_file: Path, image_file: Path) -> None:
    graph, _ = sites_of(cnn_file, f"npz:{image_file}?count=16", "eight")
    stem = next(node for node in graph.graph if node.name == "stem")
    found = output_quantizer(stem.outputs[0])
    scale = graph.graph.initializers["r0_scale"].const_value.numpy()
    assert found is not None and found.tensor == "r0"
    assert found.range == pytest.approx(float(scale) * 255)


def test_a_float_graph_has_no_ranges_and_macs_are_counted() -> None:
    w = np.zeros((6, 2, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", group=2, pads=[1] * 4, strides=[2, 2])
    model = ir.from_proto(
        make_model([node], [("x", TensorProto.FLOAT, ["n", 4, 8, 8])], [("y", ["n", 6, 4, 4])], {"w": w})
    )
    shapes = {"x": (1, 4, 8, 8), "y": (1, 6, 4, 4)}
    (site,) = mac_sites(model, shapes, {})
    assert (site.weight_range, site.input_range) == (None, None)
    assert (site.channels, site.fan_in, site.macs) == (6, 18, 6 * 4 * 4 * 18)
    (compat,) = mac_sites(model, shapes, {}, ignore_groups=True)
    assert (compat.fan_in, compat.macs) == (36, site.macs)


def test_an_einsum_that_cannot_be_counted_is_named() -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], "sum", equation="...i,ij->...j")
    w = np.zeros((3, 4), np.float32)
    model = ir.from_proto(
        make_model([node], [("x", TensorProto.FLOAT, ["n", 3])], [("y", ["n", 4])], {"w": w})
    )
    with pytest.raises(ModelError, match=r"sum \(Einsum"):
        mac_sites(model, {"x": (1, 3), "y": (1, 4)}, {})


def test_the_metadata_of_a_quantized_file_tells_its_widths(cnn_file: Path, image_file: Path) -> None:
    graph, _ = sites_of(cnn_file, f"npz:{image_file}?count=16", "mixed channels")
    nodes = json.loads(graph.metadata_props[METADATA_ALLOCATION])["nodes"]
    assert next(node for node in nodes if node["node"] == "stem")["weight_bits"][:2] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("scheme", "noise", "is_said"),
    [("int8", "thermal", True), ("int8", "shot", False), ("asymmetric", "thermal", False)],
)
def test_ranges_that_the_weights_do_not_use_are_said_where_noise_grows_with_them(
    cnn_file: Path, image_file: Path, tmp_path: Path, scheme: str, noise: str, is_said: bool
) -> None:
    spec = f"npz:{image_file}?count=32"
    digital = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", weight_scheme=scheme)
    eight = mpq_onnx.allocate(
        cnn_file, spec, tmp_path / "digital", weight_bits=8, activation_bits=8, options=digital
    )
    options = mpq_onnx.EnergyOptions((noise,), method="uniform", repeats=1)
    result = mpq_onnx.allocate_energy(
        eight.model_path, spec, tmp_path / "noisy", energy_per_mac=9.0, options=options
    )
    assert any("times what their weights span" in note for note in result.notes) == is_said
