"""calibrate: ranges of all activations on data, as a JSON file that allocate and apply reuse."""

import os

from mpq_onnx.arithmetic.quantization import ASYMMETRIC
from mpq_onnx.datasets import DataSource, data_source
from mpq_onnx.datasets.sampling import drawn
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.equalization import DEPTHWISE
from mpq_onnx.graph.given_model import ModelSource
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration


@checked_arguments
def calibrate(
    model: ModelSource,
    data: DataSource,
    output: str | os.PathLike[str],
    *,
    observer: str = "mse",
    placement: str = "all",
    activation_scheme: str = ASYMMETRIC,
    equalization: str = DEPTHWISE,
    device: str = "auto",
    seed: int = 0,
) -> Calibration:
    """Stream `data` through `model`, in an order drawn by `seed`, and write calibration.json to `output`.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    Calibration.check_place(output)
    rules = CalibrationRules(observer, placement, activation_scheme, equalization)
    float_model = load_float_model(model)
    dataset = drawn(float_model.open_data(data_source(data)), seed)
    calibration = measure_calibration(float_model, dataset, rules, device)
    calibration.save(output)
    return calibration
