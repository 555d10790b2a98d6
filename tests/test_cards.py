"""Quantization cards: of files that onnxruntime's own quantizer made, field by field, and of this project's."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model
from onnx import TensorProto, helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.graph.metadata import METADATA_ALLOCATION
from mpq_onnx.report.card import make_card
from mpq_onnx.report.card_text import UNKNOWN, card_markdown, differences


class Images(CalibrationDataReader):
    """Batches for onnxruntime's calibration."""

    def __init__(self, path: Path) -> None:
        self.batches = iter(np.array_split(np.load(path)["images"], 6))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path) -> Path:
    path = tmp_path_factory.mktemp("cards") / "float.onnx"
    mpq_onnx.export(str(cnn_file), path)
    return path


def quantized(exported: Path, image_file: Path, folder: Path, **options) -> dict:
    path = folder / "quantized.onnx"
    quantize_static(str(exported), str(path), Images(image_file), quant_format=QuantFormat.QDQ, **options)
    return mpq_onnx.card(path)


def test_per_channel_symmetric_weights(exported: Path, image_file: Path, tmp_path: Path) -> None:
    card = quantized(
        exported,
        image_file,
        tmp_path,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    weights, activations = card["weights"], card["activations"]
    assert weights["quantized layers"] == "4 of 4"
    assert weights["share of weights"] == 1 and weights["share of MACs"] == 1
    assert weights["bits"] == "8" and weights["stored as"] == "int8"
    # Gemm weights are per tensor unless asked otherwise; convolutions have a scale a channel.
    assert weights["scales"] in ("per channel", "3 per channel, 1 per tensor")
    assert weights["scheme"] == "symmetric, narrow"
    assert weights["first layer"] == "stem: 8 bits, input quantized"
    assert weights["last layer"] == "fc: 8 bits, input quantized"
    assert weights["left in float"] == "none"
    assert activations["computed as"] == "uint8" and activations["bits"] == "8"
    assert activations["scales"] == "per tensor" and activations["ranges"] == "static"
    assert activations["model inputs"] == "images: quantized"
    assert activations["model outputs"] == "logits: quantized"
    assert activations["share of MACs"] == 1
    assert card["biases"]["type"] == "int32" or "int32" in card["biases"]["type"]
    assert card["model"]["format"] == "QDQ" and card["model"]["opset"] == 21
    for section, name in (
        ("weights", "ranges"), ("weights", "rounding"), ("activations", "observer"), ("activations", "placement"),
        ("biases", "correction"), ("method", "name"), ("budget", "asked"), ("data", "training"), ("accuracy", "measured"),
    ):  # fmt: skip
        assert card[section][name] == UNKNOWN


def test_per_tensor_asymmetric(exported: Path, image_file: Path, tmp_path: Path) -> None:
    card = quantized(
        exported, image_file, tmp_path, per_channel=False, activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8,
        extra_options={"WeightSymmetric": False},
    )  # fmt: skip
    assert card["weights"]["scales"] == "per tensor"
    assert card["weights"]["stored as"] == "uint8"
    assert card["weights"]["scheme"] == "asymmetric"


def test_symmetric_signed_activations_of_16_bits(exported: Path, image_file: Path, tmp_path: Path) -> None:
    card = quantized(
        exported, image_file, tmp_path, per_channel=True, activation_type=QuantType.QInt16, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True},
    )  # fmt: skip
    assert card["activations"]["computed as"] == "int16" and card["activations"]["bits"] == "16"
    assert card["activations"]["scheme"] == "symmetric"


def test_layers_left_out(exported: Path, image_file: Path, tmp_path: Path) -> None:
    card = quantized(
        exported, image_file, tmp_path, nodes_to_exclude=["stem", "fc"], activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    weights = card["weights"]
    assert weights["quantized layers"] == "2 of 4"
    assert weights["left in float"] == "stem, fc"
    assert weights["first layer"] == "stem: float" and weights["last layer"] == "fc: float"
    sizes = {"stem": 8 * 3 * 9, "inner": 8 * 8 * 9, "depthwise": 8 * 9, "fc": 6 * 8}
    assert weights["share of weights"] == pytest.approx(
        (sizes["inner"] + sizes["depthwise"]) / sum(sizes.values())
    )
    macs = {"stem": 216 * 144, "inner": 576 * 144, "depthwise": 72 * 36, "fc": 48}
    assert weights["share of MACs"] == pytest.approx((macs["inner"] + macs["depthwise"]) / sum(macs.values()))
    assert card["activations"]["model inputs"] == "images: float"


def test_integer_operators_are_named_and_their_weights_counted(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    model = make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")],
        [("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [("y", ["n", 4, 6, 6])],
        {"w": weight},
    )
    onnx.save(model, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx", weight_type=QuantType.QUInt8)
    card = mpq_onnx.card(tmp_path / "dynamic.onnx")
    assert card["model"]["format"] == "integer operators: 1 ConvInteger, 1 DynamicQuantizeLinear"
    assert (card["weights"]["quantized layers"], card["weights"]["bits"]) == ("1 of 1", "8")


def test_a_float_file_has_a_card(exported: Path) -> None:
    card = mpq_onnx.card(exported)
    assert card["model"]["format"] == "float"
    assert card["weights"]["quantized layers"] == "0 of 4" and card["weights"]["bits"] == "float"
    assert card["activations"]["quantizers"] == 0


@pytest.fixture(scope="module")
def allocated(tmp_path_factory: pytest.TempPathFactory, exported: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("cards") / "out"
    result = run_inside(
        "allocate", exported, "--data", f"npz:{image_file}", "--weight-bits", 3, "--activation-bits", 4, "-o", folder,
        "--rounding", "nearest", "--method", "water-filling", "--weight-scales", "tensor", "--first-last", "8",
        "--activation-scheme", "symmetric-narrow", "--seed", 7,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


def test_allocate_writes_a_card_that_states_its_choices(allocated: Path, image_file: Path) -> None:
    card = json.loads((allocated / "card.json").read_text())
    assert card == json.loads(json.dumps(mpq_onnx.card(allocated / "model.onnx"), default=float))
    assert card["weights"]["scales"] == "per tensor"
    assert card["weights"]["first layer"] == "stem: 8 bits, input quantized"
    assert card["activations"]["scheme"] == "symmetric, narrow"
    assert card["method"]["name"] == "water-filling" and card["method"]["seed"] == 7
    assert card["budget"]["mean weight bits"] <= 3
    assert card["data"]["training"]["examples"] == 144 and len(card["data"]["training"]["sha256"]) == 64
    assert card["data"]["validation"]["examples"] == 48
    assert card["accuracy"]["top1"].startswith("0.") and "[" in card["accuracy"]["top1"]
    assert {"onnx", "torch", "numpy", "python"} <= card["versions"].keys()
    markdown = (allocated / "card.md").read_text()
    assert "## Weights" in markdown and "| scales" in markdown and "per tensor" in markdown


def test_apply_and_noise_write_cards_too(
    allocated: Path, exported: Path, image_file: Path, tmp_path: Path
) -> None:
    data = f"npz:{image_file}"
    result = run_inside(
        "apply", exported, allocated / "allocation.json", "-o", tmp_path / "again.onnx", "--data", data
    )
    assert result.returncode == 0, result.stderr
    assert "per tensor" in (tmp_path / "again.card.md").read_text()
    noisy = run_inside(
        "allocate", allocated / "model.onnx", "--data", data, "--noise", "thermal", "--energy-per-mac", 10,
        "--method", "uniform", "-o", tmp_path / "noisy",
    )  # fmt: skip
    assert noisy.returncode == 0, noisy.stderr
    noise = mpq_onnx.card(tmp_path / "noisy" / "model.onnx")["noise"]
    assert noise["noisy nodes"] == 4 and noise["noise"] == "thermal"
    assert noise["mean energy per MAC"] == pytest.approx(10) and noise["compat"] == "none"


def test_two_cards_show_what_they_do_not_share(allocated: Path, exported: Path) -> None:
    found = {(section, name) for section, name, *_ in differences(
        mpq_onnx.card(allocated / "model.onnx"), mpq_onnx.card(exported)
    )}  # fmt: skip
    assert {("model", "bytes"), ("weights", "quantized layers"), ("activations", "scheme")} <= found
    assert ("model", "opset") not in found
    result = run_inside("card", allocated / "model.onnx", exported)
    assert result.returncode == 0 and "4 of 4" in result.stdout and "0 of 4" in result.stdout
    assert "no difference" in run_inside("card", exported, exported).stdout
    as_json = json.loads(run_inside("card", allocated / "model.onnx", "--json").stdout)
    assert as_json["weights"]["quantized layers"] == "4 of 4"


def test_fields_that_one_card_lacks_are_no_values(tmp_path: Path, exported: Path, allocated: Path) -> None:
    found = differences(mpq_onnx.card(exported), mpq_onnx.card(allocated / "model.onnx"))
    texts = {(section, field): values for section, field, *values in found}
    assert texts["budget", "mean weight bits"][0] == texts["method", "seed"][0] == UNKNOWN
    assert not [values for values in texts.values() if set(values) <= {UNKNOWN, "none", "-"}]


def test_a_noisy_file_has_the_layers_of_the_noise_free_one(exported: Path, tmp_path: Path) -> None:
    options = mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1)
    mpq_onnx.allocate_energy(exported, "random?count=16", tmp_path, energy_per_mac=5, options=options)
    noisy, plain = mpq_onnx.card(tmp_path / "model.onnx"), mpq_onnx.card(exported)
    assert noisy["weights"] == plain["weights"] and noisy["biases"] == plain["biases"]
    assert noisy["weights"]["quantized layers"] == "0 of 4" and noisy["noise"]["noisy nodes"] == 4


def test_equalization_that_scaled_nothing_is_said(allocated: Path, exported: Path, tmp_path: Path) -> None:
    assert (
        mpq_onnx.card(allocated / "model.onnx")["weights"]["equalization"] == "depthwise: nothing was scaled"
    )
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", equalization="cross-layer")
    mpq_onnx.allocate(exported, "random?count=16", tmp_path, weight_bits=8, options=options)
    assert "scaled" in mpq_onnx.card(tmp_path / "model.onnx")["weights"]["equalization"]
    assert "nothing" not in mpq_onnx.card(tmp_path / "model.onnx")["weights"]["equalization"]


def test_a_broken_allocation_in_the_metadata_is_one_line(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    model.metadata_props.add(key=METADATA_ALLOCATION, value="{}")
    onnx.save(model, tmp_path / "broken.onnx")
    assert_one_line(run_inside("card", tmp_path / "broken.onnx"), 3, "metadata")
    assert_one_line(run_inside("card", tmp_path / "none.onnx"), 3, "no such file")


def test_card_needs_no_torch(allocated: Path) -> None:
    import subprocess
    import sys

    code = f"import sys, mpq_onnx; mpq_onnx.card({str(allocated / 'model.onnx')!r}); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", [7.5, [1], "text", None, True])
def test_metadata_of_another_kind_is_not_taken_for_where_a_file_comes_from(
    value: object, cnn_file: Path
) -> None:
    names = ("training", "validation", "accuracy", "uniform", "uniform_whole", "versions", "scaled_tensors")
    model = ir.load(cnn_file)
    for document in (dict.fromkeys(names, value), value):
        model.metadata_props["mpq_onnx.provenance"] = json.dumps(document)
        card = make_card(model, 1)
        assert card["versions"] == {"all": UNKNOWN} and card["data"]["training"] == UNKNOWN
        assert "## Versions" in card_markdown(card)
