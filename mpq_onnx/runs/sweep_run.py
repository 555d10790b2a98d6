"""One run of a sweep: an allocation, its evaluation on test data, and the row that says what came out."""

import contextlib
import json
import math
import shutil
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.errors import MpqOnnxError, one_line
from mpq_onnx.files import here, write_text
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.progress import begin
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.run_results import BIT_OPERATIONS, metric_columns, resource_columns
from mpq_onnx.runs.allocating import allocate
from mpq_onnx.runs.allocating_energy import allocate_energy
from mpq_onnx.runs.bench import CandidateResult
from mpq_onnx.runs.evaluating import evaluate
from mpq_onnx.runs.option_values import bits_options, bits_request, noisy_requests
from mpq_onnx.runs.results import ALLOCATION_FILE, DIGITAL_FOLDER, MODEL_FILE
from mpq_onnx.runs.sweep_plan import Run

FAULT_FILE = "error.txt"
"""The traceback of an error that nobody foresaw."""
SPENT = ("mean_weight_bits", "mean_activation_bits", "mean_energy_per_mac")


def do_run(shared: SharedWork, model: str | GivenModel, run: Run, place: str, threads: int) -> dict[str, Any]:
    """What a run finds that is done in the folder `place`; whatever goes wrong is the run's own error.

    Args:
        threads: of torch; sums in another number of parts end in other last digits.
    """
    begin(f"run {run.name}")
    try:
        with _torch_threads(threads):
            return _found(model, run.options, Path(place), shared)
    except Exception as error:
        _clear(here(place))
        if isinstance(error, MpqOnnxError):
            return {"error": str(error)}
        write_text(here(place) / FAULT_FILE, traceback.format_exc())
        return {"error": f"unforeseen {type(error).__name__}: {one_line(error)}; {FAULT_FILE} has more"}


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _clear(folder: Path) -> None:
    """Nothing of a failed run is taken for a result."""
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _found(
    model: str | GivenModel, options: Mapping[str, Any], place: Path, shared: SharedWork
) -> dict[str, Any]:
    row = (_energy_row if options.get("noise") else _bits_row)(model, options, place, shared)
    if options.get("test"):
        row |= _metrics(evaluate(place / MODEL_FILE, options["test"], baseline=model).evaluation)
    return row


def _bits_row(
    model: str | GivenModel, options: Mapping[str, Any], place: Path, shared: SharedWork
) -> dict[str, Any]:
    result = allocate(
        model,
        options["data"],
        place,
        weight_bits=options.get("weight_bits"),
        activation_bits=options.get("activation_bits"),
        validation=options.get("validation"),
        options=bits_request(bits_options(options)),
        shared=shared,
    )
    allocation = result.chosen.allocation
    return {
        "kept": result.chosen.name,
        "mean_weight_bits": allocation.mean_weight_bits,
        "mean_activation_bits": allocation.mean_activation_bits,
        "peak_activation_bits": allocation.peak_activation_bits,
        "weight_bytes": allocation.weight_bytes,
        "bit_operations": allocation.bit_operations,
        **resource_columns(result.chosen.resources),
        "loses_to_uniform": result.loses_to_uniform,
        **_beside("uniform", result.uniform),
        **(_beside("uniform_whole", result.uniform_whole) if result.uniform_whole is not None else {}),
        **_metrics(result.chosen.evaluation),
    }


def _energy_row(
    model: str | GivenModel, options: Mapping[str, Any], place: Path, shared: SharedWork
) -> dict[str, Any]:
    energies, widths = noisy_requests(options)
    weight_bits, activation_bits = options.get("weight_bits"), options.get("activation_bits")
    result = allocate_energy(
        model,
        options["data"],
        place,
        energy_per_mac=options.get("energy_per_mac"),
        options=energies,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        digital=widths if weight_bits or activation_bits else None,  # those that other runs of the sweep have
        validation=options.get("validation"),
        shared=shared,
    )
    digital = place / DIGITAL_FOLDER / ALLOCATION_FILE
    below = Allocation.load(digital) if here(digital).is_file() else None
    return {
        "kept": result.chosen.name,
        "mean_weight_bits": None if below is None else below.mean_weight_bits,
        "mean_activation_bits": None if below is None else below.mean_activation_bits,
        "mean_energy_per_mac": result.chosen.allocation.mean_energy_per_mac,
        "unit": result.chosen.allocation.unit,
        **resource_columns(result.chosen.resources),
        "loses_to_uniform": result.loses_to_uniform,
        **_beside("uniform", result.uniform),
        **_metrics(result.chosen.evaluation),
    }


def _beside(name: str, result: CandidateResult[Any]) -> dict[str, Any]:
    """What the baseline spends and reaches on the validation data, in columns that begin with its name."""
    allocation = json.loads(to_json(result.allocation))
    spent = {column: allocation[column] for column in SPENT if allocation.get(column) is not None}
    found = _metrics(result.evaluation)
    reached = {
        f"validation_{column}": found[column]
        for column in (*result.evaluation.metrics, "agreement", "output_sqnr")
        if found.get(column) is not None
    }
    counted = {column: value for column, value in result.resources.items() if column != BIT_OPERATIONS}
    return {f"{name}_{column}": value for column, value in {**spent, **counted, **reached}.items()}


def _metrics(evaluation: Any) -> dict[str, Any]:
    """Metrics with their intervals, of the test data where there is some, else of the validation data."""
    found: dict[str, Any] = {
        "examples": evaluation.examples,
        **metric_columns(json.loads(to_json(evaluation))),
    }
    comparison = evaluation.comparison
    if comparison is not None:
        found["agreement"] = None if comparison.agreement is None else comparison.agreement.value
        sqnr = comparison.output_sqnr
        found["output_sqnr"] = sqnr if sqnr is not None and math.isfinite(sqnr) else None
    return found
