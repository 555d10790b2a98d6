"""The QDQ graph in onnxruntime against its mirror, for every storage form and budget side."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from mpq_onnx.documents.allocation import Settings, make_allocation
from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.metadata import METADATA_ALLOCATION
from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.quantized import quantized_mirror
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration
from mpq_onnx.runs.quantized_graph import write_graph
from mpq_onnx.runs.quantizing import round_network
from mpq_onnx.runtime.session import Runner

SETTINGS = Settings("uniform", "channel", "all", "mse", "mse", "nearest", True, 0)


def quantize(model: Path, spec: str, weights, activations, storage: str):
    """(float model, QDQ graph, mirror of it, inputs)."""
    float_model = load_float_model(model)
    dataset = float_model.open_data(spec)
    calibration = measure_calibration(float_model, dataset, CalibrationRules(), "cpu")
    sites = find_sites(float_model.model, calibration.shapes)
    mirror = build_mirror(float_model.model)
    mirror.module.requires_grad_(False)
    allocation = make_allocation(
        fingerprint(float_model.model),
        SETTINGS,
        sites,
        {site.tensor: weights(site) for site in sites.weights} if weights else {},
        {site.tensor: activations for site in sites.free_activations} if activations else {},
        {},
    )
    data = TrainingData(dataset, mirror, torch.device("cpu"))
    network = round_network(float_model.model, mirror, sites, allocation, calibration, data, 64)
    graph = write_graph(float_model.model, allocation, network, storage)
    return (
        float_model.model,
        graph,
        quantized_mirror(mirror, network),
        dataset.read(range(len(dataset))).inputs,
    )


def mixed(site) -> tuple[float, ...]:
    return tuple(float(2 + index % 7) for index in range(site.channels))


CASES = {
    "mixed channels": (mixed, 5.0),
    "eight": (lambda site: 8.0, 8.0),
    "weights only": (mixed, None),
    "activations only": (None, 4.0),
    "pruned channels": (
        lambda site: tuple([0.0, 4.0] * (site.channels // 2) + [4.0] * (site.channels % 2)),
        8.0,
    ),
    "wide": (lambda site: 12.0, 12.0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("storage", ["int8", "packed"])
@pytest.mark.parametrize("network", ["cnn", "encoder"])
def test_onnxruntime_computes_what_the_mirror_computes(
    case: str, storage: str, network: str, cnn_file: Path, encoder_file: Path, image_file: Path
) -> None:
    model = cnn_file if network == "cnn" else encoder_file
    spec = f"npz:{image_file}?count=64" if network == "cnn" else "random?count=64"
    _, graph, mirror, feeds = quantize(model, spec, *CASES[case], storage)
    onnx.checker.check_model(model_bytes(graph), full_check=True)
    with torch.no_grad():
        wanted = mirror.run(feeds, torch.device("cpu"))[0].numpy()
    # At 8 bits onnxruntime fuses Softmax into a kernel that truncates where QuantizeLinear rounds.
    loosely = network == "encoder" and CASES[case][1] == 8.0
    for optimize in (True, False):
        (found,) = Runner(graph, "cpu", optimize).run(feeds)
        # A value on a rounding edge may fall to either side; most examples meet none.
        exact = np.abs(found - wanted).max(axis=1) < 1e-4 * np.abs(wanted).max()
        if optimize and loosely:
            assert ((found - wanted) ** 2).sum() < 1e-3 * (wanted**2).sum()
        else:
            assert exact.mean() > 0.9


def test_every_activation_and_weight_is_quantized(cnn_file: Path, image_file: Path) -> None:
    """Nothing between two nodes stays in float: every MAC, Add and pool reads dequantized values and is quantized after."""
    _, graph, _, _ = quantize(cnn_file, f"npz:{image_file}?count=16", *CASES["mixed channels"], "int8")
    pass_through = {"DequantizeLinear", "MaxPool", "Flatten", "Reshape", "Transpose"}
    for node in graph.graph:
        if node.op_type in ("Conv", "Gemm", "Add", "GlobalAveragePool", "ReduceMean"):
            for value in node.inputs:
                producer = value.producer()
                fused = producer is not None and producer.op_type in ("Conv", "Gemm", "Add")
                assert producer is not None and (producer.op_type in pass_through or fused), (
                    node.name,
                    value.name,
                )
    outputs = [value.producer().op_type for value in graph.graph.outputs]
    assert outputs == ["DequantizeLinear"]
    assert [value.name for value in graph.graph.outputs] == ["logits"]


def test_levels_and_containers(cnn_file: Path, image_file: Path) -> None:
    _, graph, _, feeds = quantize(cnn_file, f"npz:{image_file}?count=16", lambda site: 3.0, 3.0, "int8")
    proto = onnx.load_from_string(model_bytes(graph))
    for initializer in proto.graph.initializer:
        if initializer.name.endswith("weight_quantized"):
            array = onnx.numpy_helper.to_array(initializer)
            assert array.dtype == np.int8
            per_channel = array.reshape(len(array), -1)
            assert (per_channel.max(axis=1) - per_channel.min(axis=1)).max() <= 7
    for node in proto.graph.node:
        if node.op_type == "Clip" and node.name.endswith("_narrow"):
            proto.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], 2, None))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    narrowed = [array for array in session.run(None, feeds) if array.dtype == np.uint8]
    assert narrowed and max(array.max() for array in narrowed) == 7


def test_biases_are_int32_at_the_products_scale(cnn_file: Path, image_file: Path) -> None:
    _, graph, _, _ = quantize(cnn_file, f"npz:{image_file}?count=16", *CASES["eight"], "int8")
    found = 0
    for node in graph.graph:
        if node.op_type in ("Conv", "Gemm"):
            data, weight, bias = (value.producer() for value in node.inputs[:3])
            while data.op_type != "DequantizeLinear":
                data = data.inputs[0].producer()
            assert bias.inputs[0].const_value.numpy().dtype == np.int32
            np.testing.assert_allclose(
                bias.inputs[1].const_value.numpy(),
                data.inputs[1].const_value.numpy() * weight.inputs[1].const_value.numpy(),
                rtol=1e-6,
            )
            found += 1
    assert found == 4


def test_the_allocation_travels_in_the_file(cnn_file: Path, image_file: Path) -> None:
    _, graph, _, _ = quantize(cnn_file, f"npz:{image_file}?count=16", *CASES["mixed channels"], "packed")
    assert '"mpq-onnx/allocation"' in graph.metadata_props[METADATA_ALLOCATION]
