"""evaluate: metrics of any of these files on data, in onnxruntime. No torch here."""

import os
from dataclasses import dataclass

from mpq_onnx.allocation import Allocation, parse_allocation
from mpq_onnx.datasets import open_dataset
from mpq_onnx.model_file import METADATA_ALLOCATION, METADATA_PREPROCESSING, load_model
from mpq_onnx.model_inputs import model_inputs
from mpq_onnx.runtime.evaluation import BATCH_SIZE, Evaluation, evaluate_runner, file_bytes
from mpq_onnx.runtime.session import Runner


@dataclass(frozen=True)
class EvaluateResult:
    """An evaluation with what is known of the file."""

    path: str
    bytes: int
    allocation: Allocation | None
    """From the file's metadata; None for a float file or another tool's."""
    evaluation: Evaluation


def evaluate(
    model: str | os.PathLike[str],
    data: str,
    *,
    baseline: str | os.PathLike[str] | None = None,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
) -> EvaluateResult:
    """Run `data` through `model`, and through `baseline` beside it.

    Args:
        model: an ONNX file, float or quantized.
        data: data spec.
        baseline: a file to compare with, usually the float model; the target where the data has no labels.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    loaded = load_model(model)
    dataset = open_dataset(data, model_inputs(loaded), loaded.metadata_props.get(METADATA_PREPROCESSING, ""))
    embedded = loaded.metadata_props.get(METADATA_ALLOCATION)
    other = Runner(load_checked(baseline), device) if baseline is not None else None
    found = evaluate_runner(Runner(model, device), dataset, other, batch_size)
    allocation = parse_allocation(embedded, f"{model}: metadata {METADATA_ALLOCATION}") if embedded else None
    return EvaluateResult(str(model), file_bytes(model), allocation, found)


def load_checked(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """`path`, after ONNX's checker accepted the file."""
    load_model(path)
    return path
