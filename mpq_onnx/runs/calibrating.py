"""calibrate: ranges of all activations on data, as a JSON file that allocate and apply reuse."""

import os
from dataclasses import fields
from typing import Any

from mpq_onnx.arithmetic.quantization import ASYMMETRIC
from mpq_onnx.datasets import DataSource, data_source
from mpq_onnx.datasets.sampling import drawn
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.equalization import DEPTHWISE
from mpq_onnx.graph.given_model import ModelSource
from mpq_onnx.runs.arguments import check_seed, checked_arguments
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration
from mpq_onnx.runs.result import Result

SHOWN_BITS = 8
"""Of the range in a row."""


class CalibrateResult(Calibration, Result):
    """A calibration, as it was written."""

    DRAWN = "tensor", "high"

    @property
    def title(self) -> str:
        """What was measured."""
        return f"{len(self.tensors)} activations, {self.examples} examples, observer {self.observer}"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a tensor: its extremes, and its range at 8 bits."""
        rows = []
        for tensor, found in self.tensors.items():
            low, high = found.range(SHOWN_BITS)
            rows.append(
                {
                    "tensor": tensor,
                    "minimum": found.minimum,
                    "maximum": found.maximum,
                    "low": low,
                    "high": high,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """What --json prints, without the path."""
        shown = ("examples", "observer", "scheme", "equalization", "scaled_tensors", "model")
        return {"activations": len(self.tensors), **{name: getattr(self, name) for name in shown}}


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
) -> CalibrateResult:
    """Stream `data` through `model`, in an order drawn by `seed`, and write calibration.json to `output`.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    check_seed(seed)
    Calibration.check_place(output)
    rules = CalibrationRules(observer, placement, activation_scheme, equalization)
    float_model = load_float_model(model)
    dataset = drawn(float_model.open_data(data_source(data)), seed)
    calibration = measure_calibration(float_model, dataset, rules, device)
    calibration.save(output)
    return CalibrateResult(**{each.name: getattr(calibration, each.name) for each in fields(calibration)})
