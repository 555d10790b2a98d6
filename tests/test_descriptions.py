"""Files that explain themselves: every node says its width or its energy, as viewers show it, and who wrote the file."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import mpq_onnx
from mpq_onnx.graph.model_file import load_model, model_bytes
from mpq_onnx.passes.remove_noise import RemoveNoisePass

WEIGHTS, OUTPUT, QUANTIZER, ENERGY = (
    f"mpq_onnx.{name}" for name in ("weight_bits", "output_bits", "bits", "energy_per_mac")
)


@pytest.fixture(scope="module")
def digital(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("described") / "out"
    options = mpq_onnx.AllocateOptions(
        method="water-filling", rounding="nearest", granularity="channel", bias_correction=False
    )
    mpq_onnx.allocate(
        cnn_file, f"npz:{image_file}?count=64", folder, weight_bits=3, activation_bits=5, options=options
    )
    return folder


def said(model: onnx.ModelProto) -> dict[str, tuple[str, dict[str, str]]]:
    """Doc string and metadata of every node."""
    return {
        node.name: (node.doc_string, {each.key: each.value for each in node.metadata_props})
        for node in model.graph.node
    }


def test_nodes_say_their_widths(digital: Path) -> None:
    model = onnx.load(digital / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    nodes, allocation = said(model), mpq_onnx.load_allocation(digital / "allocation.json")
    by_channel = False
    for entry in allocation.nodes:
        if entry.weight_bits is None:
            continue
        widths = np.atleast_1d(entry.weight_bits)
        doc, metadata = nodes[entry.node]
        if widths.min() == widths.max():
            assert metadata[WEIGHTS] == f"{widths[0]:g} bits"
        else:
            by_channel = True
            assert metadata[WEIGHTS].startswith(f"{widths.min():g} to {widths.max():g} bits by channel, ")
        assert f"weights: {metadata[WEIGHTS]}" in doc.splitlines()
    assert by_channel
    outputs = {entry.node: entry for entry in allocation.nodes if entry.activation_bits is not None}
    for name, entry in outputs.items():
        if name in nodes:
            assert nodes[name][1][OUTPUT] == f"{entry.activation_bits:g} bits"
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "Clip"):
            assert nodes[node.name][1][QUANTIZER].endswith(" bits"), node.name
    assert f"weights {allocation.mean_weight_bits:.4g} bits in the mean" in model.doc_string


def test_the_producer_is_named_and_the_one_before_kept(digital: Path, cnn_file: Path, tmp_path: Path) -> None:
    source = onnx.load(cnn_file)
    source.producer_name, source.producer_version, source.doc_string = "maker", "7", "by hand"
    onnx.save(source, tmp_path / "named.onnx")
    mpq_onnx.apply(tmp_path / "named.onnx", digital / "allocation.json", tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    assert (model.producer_name, model.producer_version) == ("mpq-onnx", mpq_onnx.__version__)
    assert model.doc_string.splitlines()[0].startswith("precision: weights ")
    assert model.doc_string.splitlines()[-1] == "by hand"
    card = json.loads((tmp_path / "out.card.json").read_text())
    assert card["model"]["producer"] == f"mpq-onnx {mpq_onnx.__version__}, from maker 7"


@pytest.mark.parametrize("storage", ["int8", "packed"])
def test_descriptions_change_no_result(
    digital: Path, cnn_file: Path, image_file: Path, tmp_path: Path, storage: str
) -> None:
    for name in ("first", "again"):
        mpq_onnx.apply(cnn_file, digital / "allocation.json", tmp_path / f"{name}.onnx", storage=storage)
    written = (tmp_path / "first.onnx").read_bytes()
    assert written == (tmp_path / "again.onnx").read_bytes()
    bare = onnx.load(tmp_path / "first.onnx")
    assert sum(bool(node.doc_string) for node in bare.graph.node) > 10
    for node in bare.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    images = np.load(image_file)["images"][:8]
    results = [
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"images": images})[0]
        for content in (written, bare.SerializeToString())
    ]
    assert np.array_equal(*results)


def test_energies_are_said_beside_widths_and_go_with_the_noise(
    digital: Path, image_file: Path, tmp_path: Path
) -> None:
    options = mpq_onnx.EnergyOptions(("shot",), method="closed-form", granularity="channel", repeats=2)
    mpq_onnx.allocate_energy(
        digital / "model.onnx", f"npz:{image_file}?count=64", tmp_path, energy_per_mac=5, options=options
    )
    noisy = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(noisy)
    nodes = said(noisy)
    for entry in mpq_onnx.load_energy_allocation(tmp_path / "energy.json").nodes:
        doc, metadata = nodes[entry.node]
        assert metadata[ENERGY].split()[0] == f"{np.min(entry.energy_per_mac):.4g}"
        assert "photons" in metadata[ENERGY] and f"energy per MAC: {metadata[ENERGY]}" in doc.splitlines()
        assert f"weights: {metadata[WEIGHTS]}" in doc.splitlines()
    assert "noise: shot, 5 photons a MAC in the mean" in noisy.doc_string.splitlines()
    mpq_onnx.apply_energy(digital / "model.onnx", tmp_path / "energy.json", tmp_path / "again.onnx")
    again = ir.to_proto(load_model(tmp_path / "again.onnx"))
    assert said(again) == nodes and again.doc_string == noisy.doc_string
    model = load_model(tmp_path / "again.onnx")
    RemoveNoisePass()(model)
    assert model_bytes(model) == model_bytes(load_model(digital / "model.onnx"))
