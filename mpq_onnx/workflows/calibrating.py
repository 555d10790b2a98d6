"""calibrate: ranges of all activations on data, as a JSON file that allocate and apply reuse."""

import os

from mpq_onnx.calibration import Calibration
from mpq_onnx.workflows.preparation import load_float_model, measure_calibration


def calibrate(
    model: str | os.PathLike[str],
    data: str,
    output: str | os.PathLike[str],
    *,
    observer: str = "mse",
    placement: str = "all",
    device: str = "auto",
) -> Calibration:
    """Stream `data` through `model` and write calibration.json to `output`.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    float_model = load_float_model(model)
    calibration = measure_calibration(float_model, float_model.open_data(data), observer, placement, device)
    calibration.save(output)
    return calibration
