"""Quantizers of onnxruntime's own domain, which it writes for 16 and 4 bits: read and handed off as ONNX's."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import mpq_onnx
from mpq_onnx.errors import MpqOnnxError

DOMAIN = "com.microsoft"
RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (16, 3, 6, 6)).astype(np.float32)


class Batches(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = iter([{"x": X}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


@pytest.fixture(scope="module", params=["16-bit activations", "4-bit weights"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file of onnxruntime's quantizer, and the same with ONNX's operators."""
    folder = tmp_path_factory.mktemp("contributed")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "v"], ["y"], "last"),
    ]
    tensors = {"w": weights(RNG, 4, 3, 3, 3), "v": weights(RNG, 2, 4, 3, 3)}
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 3, 6, 6])], [("y", ["n", 2, 4, 4])], tensors, opset=17
    )
    onnx.save(model, folder / "float.onnx")
    wide = request.param == "16-bit activations"
    quantize_static(
        folder / "float.onnx", folder / "contributed.onnx", Batches(), quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8,
        weight_type=QuantType.QInt8 if wide else QuantType.QInt4, extra_options={"UseQDQContribOps": True},
    )  # fmt: skip
    standard = onnx.load(folder / "contributed.onnx")
    quantizers = [node for node in standard.graph.node if node.op_type.endswith("Linear")]
    assert {node.domain for node in quantizers} == {DOMAIN}
    for node in quantizers:
        node.domain = ""
    del standard.opset_import[:]
    standard.opset_import.append(helper.make_opsetid("", 21))
    onnx.save(standard, folder / "standard.onnx")
    return folder / "contributed.onnx", folder / "standard.onnx"


@pytest.mark.parametrize(
    "options",
    [
        {"to": "tensorrt"}, {"to": "ort"}, {"to": "qonnx"}, {"to": "qcdq"}, {"to": "json"}, {"target": "finn"},
        {"target": "tensorrt-int8-int4"}, {"target": "onnxruntime-cpu"},
    ],
    ids=lambda options: "-".join(options.values()),
)  # fmt: skip
def test_hand_off_takes_and_refuses_both_alike(
    options: dict[str, str], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    found = []
    for path in pair:
        folder = tmp_path / path.stem
        try:
            result = mpq_onnx.handoff(path, folder, data={"x": X}, **options)
            written = onnx.load(folder / "model.onnx") if "model.onnx" in result.files else None
            found.append((sorted(result.files), result.largest_difference))
            if written is not None:
                assert not [node for node in written.graph.node if node.domain == DOMAIN]
        except MpqOnnxError as error:
            found.append((str(error).replace(path.name, "file"), None))
    assert found[0] == found[1]


def test_cards_say_the_same(pair: tuple[Path, Path]) -> None:
    found = [mpq_onnx.card(path) for path in pair]
    assert found[0]["weights"] == found[1]["weights"]
    assert found[0]["activations"] == found[1]["activations"]
