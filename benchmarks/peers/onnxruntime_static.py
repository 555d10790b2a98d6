"""onnxruntime.quantization.quantize_static: min-max ranges, a scale a channel, nearest; its preprocessing before."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx_session import forward_of
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from piece_of_work import Forward, PieceOfWork, carry_out

WEIGHTS = {8: QuantType.QInt8, 4: QuantType.QInt4}
ACTIVATIONS = {8: QuantType.QUInt8, 4: QuantType.QUInt4}
"""The widths that it has."""


class Examples(CalibrationDataReader):
    """What its calibration reads."""

    def __init__(self, name: str, batches: list[np.ndarray]) -> None:
        self.feeds = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def quantize(work: PieceOfWork) -> Forward:
    name = onnxruntime.InferenceSession(str(work.model)).get_inputs()[0].name
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(str(work.model), str(prepared), skip_symbolic_shape=True)
        model = onnx.version_converter.convert_version(onnx.load(prepared), 21)
        quantize_static(
            model,
            str(quantized),
            Examples(name, work.batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=WEIGHTS[int(work.weight_bits)],
            activation_type=ACTIVATIONS[work.activation_bits],
        )
        return forward_of(quantized)


if __name__ == "__main__":
    carry_out(quantize)
