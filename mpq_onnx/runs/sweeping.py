"""sweep: many allocations of one model, every combination of lists of options, side by side and resumable.

Each worker process makes model, data, calibrations, mirror, float outputs, weight grids and costs once and goes through its
share of the runs.
A run writes its folder and, last of all, sweep.json in it; a sweep that is started again goes on with the runs that have none.
"""

import csv
import functools
import io
import itertools
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

from mpq_onnx.errors import MpqOnnxError, UsageError
from mpq_onnx.files import write_text
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.progress import begin, counter, warn
from mpq_onnx.report.as_json import to_json
from mpq_onnx.report.pareto import mark_pareto
from mpq_onnx.report.run_results import metric_columns
from mpq_onnx.runs import option_values
from mpq_onnx.runs.allocating import allocate
from mpq_onnx.runs.allocating_energy import allocate_energy
from mpq_onnx.runs.bench import CandidateResult
from mpq_onnx.runs.configuration import check_names
from mpq_onnx.runs.energy_options import check_energy_budget
from mpq_onnx.runs.evaluating import evaluate
from mpq_onnx.runs.option_values import bits_request, noisy_requests
from mpq_onnx.runs.options import check_budgets
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runs.requests import contents_of, request_text, state_request

RUNS_FOLDER = "runs"
RUN_FILE = "sweep.json"
RESULT_FILES = ("results.jsonl", "results.csv")
REQUEST_FILE = "sweep-request.json"
CASES = "cases"
DATA_OPTIONS = ("data", "validation", "test")
SPENT = ("mean_weight_bits", "mean_activation_bits", "mean_energy_per_mac")
BUDGETS = ("weight_bits", "activation_bits", "energy_per_mac")
LISTS = frozenset({"bit_choices", "activation_bit_choices", "noise", "override", "exclude"})
"""Options whose value is a list itself: a list of lists runs over several."""
KNOWN = frozenset({CASES, *DATA_OPTIONS, *BUDGETS, *option_values.KNOWN})


@dataclass(frozen=True)
class Run:
    """One allocation."""

    name: str
    options: Mapping[str, Any]
    """All that the configuration says, one value an option."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found."""

    folder: str
    rows: tuple[dict[str, Any], ...]
    """One a run, in the configuration's order."""
    failed: int


def sweep(
    model: str | os.PathLike[str],
    configuration: Mapping[str, Any],
    output: str | os.PathLike[str],
    *,
    jobs: int = 1,
) -> SweepResult:
    """Allocate for every combination of the lists in `configuration`; write results.jsonl and results.csv.

    Args:
        model: the float ONNX file.
        configuration: options of allocate by name, each one value or a list of them; `cases`, a list of such tables, each laid
            over the others, where not every combination is wanted; data, validation; test, which results are measured on.
        output: the folder; every run gets a folder in it.
        jobs: processes.

    Raises:
        UsageError: an unknown option, a value that is none, or an output of another sweep (all found before any work starts).
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be at least 1")
    runs = list(runs_of(configuration))
    float_model = load_float_model(model)
    folder = Path(output)
    specs = {run.options[name] for run in runs for name in DATA_OPTIONS if run.options.get(name) is not None}
    contents = contents_of(float_model, **{spec: float_model.open_data(spec) for spec in sorted(specs)})
    state_request(
        folder / REQUEST_FILE,
        request_text(contents, {}, configuration=dict(configuration)),
        f"{folder}: holds another sweep (other: {{differs}}); choose another folder, or delete it",
    )
    waiting = [run for run in runs if not (folder / RUNS_FOLDER / run.name / RUN_FILE).is_file()]
    for done in _work(str(model), waiting, folder, min(jobs, max(len(waiting), 1))):
        if done.get("error"):
            warn(f"{done['run']}: {done['error']}")
        _write_results(runs, folder)
    rows = _write_results(runs, folder)
    return SweepResult(str(folder), tuple(rows), sum("error" in row for row in rows))


def runs_of(configuration: Mapping[str, Any]) -> Iterator[Run]:
    """Every combination, checked.

    Raises:
        UsageError: see sweep.
    """
    cases = configuration.get(CASES, [{}])
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise UsageError("cases: write a list of tables of options")
    base = {name: value for name, value in configuration.items() if name != CASES}
    seen = set()
    number = 0
    for case in cases:
        merged = {**base, **{name.replace("-", "_"): value for name, value in case.items()}}
        check_names(merged, KNOWN, "the sweep's configuration")
        if "data" not in merged:
            raise UsageError("the sweep's configuration: give data, a data spec such as npz:train.npz")
        for values in itertools.product(*(_values(name, value) for name, value in merged.items())):
            options = dict(zip(merged, values, strict=True))
            key = json.dumps(options, sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
            number += 1
            _check(options)
            yield Run(f"{number:04d}", options)


def _values(name: str, value: Any) -> list[Any]:
    """What an option runs over."""
    nested = isinstance(value, list) and (name not in LISTS or any(isinstance(each, list) for each in value))
    if nested and not value:
        raise UsageError(f"{name.replace('_', '-')}: an empty list leaves nothing to run")
    return value if nested else [value]


def _check(options: Mapping[str, Any]) -> None:
    """Raise UsageError for values that allocate would refuse."""
    budgets = options.get("weight_bits"), options.get("activation_bits")
    try:
        if not options.get("noise"):
            check_budgets(*budgets, bits_request(options))
            return
        if "energy_per_mac" not in options:
            raise UsageError("noise: give energy-per-mac, the mean that may be spent")
        energies, widths = noisy_requests(options)
        check_energy_budget(options["energy_per_mac"], energies)
        if any(budget is not None for budget in budgets):
            check_budgets(*budgets, widths)
    except TypeError as error:  # a value of another type than the option's
        raise UsageError(f"the sweep's configuration: {error}, in {json.dumps(dict(options))}") from error


def _work(model: str, runs: Sequence[Run], folder: Path, jobs: int) -> Iterator[dict[str, Any]]:
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


def _run_in_worker(model: str, run: Run, folder: Path) -> dict[str, Any]:
    return _run(model, run, folder, _of_this_process())


def _run(model: str, run: Run, folder: Path, shared: SharedWork) -> dict[str, Any]:
    """Allocate, evaluate, and keep the row."""
    place = folder / RUNS_FOLDER / run.name
    shutil.rmtree(place, ignore_errors=True)  # what an interrupted run has left
    options = run.options
    begin(f"run {run.name}")
    row: dict[str, Any] = {"run": run.name, **options}
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


def _bits_row(model: str, options: Mapping[str, Any], place: Path, shared: SharedWork) -> dict[str, Any]:
    result = allocate(
        model,
        options["data"],
        place,
        weight_bits=options.get("weight_bits"),
        activation_bits=options.get("activation_bits"),
        validation=options.get("validation"),
        options=bits_request(options),
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
        "loses_to_uniform": result.loses_to_uniform,
        **_beside("uniform", result.uniform),
        **(_beside("uniform_whole", result.uniform_whole) if result.uniform_whole is not None else {}),
        **_metrics(result.chosen.evaluation),
    }


def _energy_row(model: str, options: Mapping[str, Any], place: Path, shared: SharedWork) -> dict[str, Any]:
    energies, widths = noisy_requests(options)
    result = allocate_energy(
        model,
        options["data"],
        place,
        energy_per_mac=options["energy_per_mac"],
        options=energies,
        weight_bits=options.get("weight_bits"),
        activation_bits=options.get("activation_bits"),
        digital=widths,
        validation=options.get("validation"),
        shared=shared,
    )
    return {
        "kept": result.chosen.name,
        "mean_energy_per_mac": result.chosen.allocation.mean_energy_per_mac,
        "unit": result.chosen.allocation.unit,
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
    return {f"{name}_{column}": value for column, value in {**spent, **reached}.items()}


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
