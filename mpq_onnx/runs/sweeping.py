"""sweep: many allocations of one model, every combination of lists of options, side by side and resumable.

Each worker process makes model, data, calibrations, mirror, float outputs, weight grids and costs once and goes through its
share of the runs.
A run writes its folder and, last of all, sweep.json in it; a sweep that is started again goes on with the runs that have none.
"""

import csv
import functools
import io
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.errors import MpqOnnxError, UsageError
from mpq_onnx.files import write_text
from mpq_onnx.graph.given_model import GivenModel, ModelSource, model_source
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.progress import begin, counter, warn
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.pareto import mark_pareto
from mpq_onnx.report.run_results import BIT_OPERATIONS, metric_columns, resource_columns
from mpq_onnx.runs.allocating import allocate
from mpq_onnx.runs.allocating_energy import allocate_energy
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.bench import CandidateResult
from mpq_onnx.runs.earlier_results import SWEEP, make_room
from mpq_onnx.runs.evaluating import evaluate
from mpq_onnx.runs.option_values import bits_options, bits_request, noisy_requests
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runs.recorded_paths import name_alone, recorded
from mpq_onnx.runs.requests import CONTENT, contents_of, request_text, state_request
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.results import ALLOCATION_FILE, DIGITAL_FOLDER
from mpq_onnx.runs.sweep_plan import DATA_OPTIONS, Run, runs_of
from mpq_onnx.targets.loading import load_target

RUNS_FOLDER = "runs"
RUN_FILE = "sweep.json"
RESULT_FILES = ("results.jsonl", "results.csv")
REQUEST_FILE = "sweep-request.json"
SPENT = ("mean_weight_bits", "mean_activation_bits", "mean_energy_per_mac")


@dataclass(frozen=True)
class SweepResult(Result):
    """What a sweep found."""

    folder: str
    rows: tuple[dict[str, Any], ...]
    """One a run, in the configuration's order."""
    failed: int

    DRAWN = "run", "bit_operations"

    @property
    def title(self) -> str:
        """How many runs there are, and failed."""
        return f"{len(self.rows)} runs, {self.failed} failed"

    @property
    def table(self) -> list[dict[str, Any]]:
        """The rows."""
        return [*self.rows]


@checked_arguments
def sweep(
    model: ModelSource,
    configuration: Mapping[str, Any],
    output: str | os.PathLike[str],
    *,
    jobs: int = 1,
    overwrite: bool = False,
) -> SweepResult:
    """Allocate for every combination of the lists in `configuration`; write results.jsonl and results.csv.

    Args:
        model: the float ONNX file.
        configuration: options of allocate by name, each one value or a list of them; `cases`, a list of such tables, each laid
            over the others, where not every combination is wanted; data, validation; test, which results are measured on.
        output: the folder; every run gets a folder in it.
        jobs: processes.
        overwrite: begin anew, and replace what is in the folder; another result there is refused otherwise.

    Raises:
        UsageError: an unknown option, a value that is none, or an output of another sweep (all found before any work starts).
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1")
    model = model_source(model)
    runs = list(runs_of(configuration))
    float_model = load_float_model(model)
    folder = Path(output)
    specs = {run.options[name] for run in runs for name in DATA_OPTIONS if run.options.get(name) is not None}
    tables = sorted({str(run.options["costs"]) for run in runs if run.options.get("costs") is not None})
    contents = contents_of(
        float_model,
        {f"costs {name_alone(path)}": path for path in tables},
        **{recorded({"data": spec}, folder)["data"]: float_model.open_data(spec) for spec in sorted(specs)},
    )
    targets = sorted({run.options["target"] for run in runs if run.options.get("target") is not None})
    contents |= {f"{name_alone(target)}{CONTENT}": load_target(target).digest for target in targets}
    make_room(folder, SWEEP, overwrite)
    state_request(
        folder / REQUEST_FILE,
        request_text(contents, {}, configuration=recorded(configuration, folder)),
        f"{folder}: holds another sweep (other: {{differs}}); choose another folder, or --overwrite it",
    )
    waiting = [run for run in runs if not (folder / RUNS_FOLDER / run.name / RUN_FILE).is_file()]
    for done in _work(model, waiting, folder, min(jobs, max(len(waiting), 1))):
        if done.get("error"):
            warn(f"{done['run']}: {done['error']}")
        _write_results(runs, folder)
    rows = _write_results(runs, folder)
    return SweepResult(str(folder), tuple(rows), sum("error" in row for row in rows))


def _work(model: str | GivenModel, runs: Sequence[Run], folder: Path, jobs: int) -> Iterator[dict[str, Any]]:
    """Do `runs`, a share a process; yields the row of each as it is finished."""
    with counter("sweep", len(runs), "run") as progress:
        if jobs == 1:
            shared = SharedWork()
            for run in runs:
                yield _run(model, run, folder, shared)
                progress.update()
            return
        threads = max((os.cpu_count() or 1) // jobs, 1)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool:
            waiting = [pool.submit(_run_in_worker, model, run, folder) for run in runs]
            for finished in as_completed(waiting):
                row = finished.result()
                begin(f"run {row['run']} is done")
                yield row
                progress.update()


def _start_worker(threads: int) -> None:
    """Give a pool's process its share of the cores."""
    import torch

    torch.set_num_threads(threads)


@functools.cache
def _of_this_process() -> SharedWork:
    """What the runs of one worker process share."""
    return SharedWork()


def _run_in_worker(model: str | GivenModel, run: Run, folder: Path) -> dict[str, Any]:
    return _run(model, run, folder, _of_this_process())


def _run(model: str | GivenModel, run: Run, folder: Path, shared: SharedWork) -> dict[str, Any]:
    """Allocate, evaluate, and keep the row."""
    place = folder / RUNS_FOLDER / run.name
    shutil.rmtree(place, ignore_errors=True)  # what an interrupted run has left
    options = run.options
    begin(f"run {run.name}")
    row: dict[str, Any] = {"run": run.name, **recorded(options, folder)}
    try:
        if options.get("noise"):
            row |= _energy_row(model, options, place, shared)
        else:
            row |= _bits_row(model, options, place, shared)
        if options.get("test"):
            found = evaluate(place / "model.onnx", options["test"], baseline=model).evaluation
            row |= _metrics(found)
    except MpqOnnxError as error:
        row["error"] = str(error)
    write_text(place / RUN_FILE, json.dumps(row, indent=1, default=float) + "\n")
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
    result = allocate_energy(
        model,
        options["data"],
        place,
        energy_per_mac=options.get("energy_per_mac"),
        options=energies,
        weight_bits=options.get("weight_bits"),
        activation_bits=options.get("activation_bits"),
        digital=widths,
        validation=options.get("validation"),
        shared=shared,
    )
    digital = place / DIGITAL_FOLDER / ALLOCATION_FILE
    below = Allocation.load(digital) if digital.is_file() else None
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


def _write_results(runs: Sequence[Run], folder: Path) -> list[dict[str, Any]]:
    """The rows of all finished runs in order, with the Pareto front marked, as JSON lines and CSV."""
    rows = []
    for run in runs:
        kept = folder / RUNS_FOLDER / run.name / RUN_FILE
        if kept.is_file():
            rows.append(json.loads(kept.read_text(encoding="utf-8")))
    mark_pareto(rows)
    write_text(folder / RESULT_FILES[0], "".join(json.dumps(row) + "\n" for row in rows))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in rows
    )
    write_text(folder / RESULT_FILES[1], table.getvalue())
    return rows
