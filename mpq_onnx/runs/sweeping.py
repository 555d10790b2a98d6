"""sweep: many allocations of one model, every combination of lists of options, side by side and resumable.

Each worker process makes model, data, calibrations, mirror, float outputs, weight grids and costs once and goes through its
share of the runs.
A run writes its folder and, last of all, sweep.json in it; a sweep that is started again goes on with the runs that have none.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpq_onnx.cluster.crew import Job, crew
from mpq_onnx.cluster.opening import Workers
from mpq_onnx.errors import UsageError
from mpq_onnx.files import write_text
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.progress import begin, counter, warn
from mpq_onnx.report.pareto import mark_pareto
from mpq_onnx.runs.alone import alone_in_output
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.earlier_results import SWEEP, make_room
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runs.recorded_paths import recorded
from mpq_onnx.runs.requests import CONTENT, contents_of, request_text, state_request
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.run_folder import receive
from mpq_onnx.runs.sweep_plan import DATA_OPTIONS, Run, runs_of
from mpq_onnx.runs.sweep_run import do_run
from mpq_onnx.runs.travel import Needs, check_can_travel, kit_for
from mpq_onnx.targets.loading import load_target

RUNS_FOLDER = "runs"
RUN_FILE = "sweep.json"
RESULT_FILES = ("results.jsonl", "results.csv")
REQUEST_FILE = "sweep-request.json"


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
@alone_in_output
def sweep(
    model: ModelSource,
    configuration: Mapping[str, Any],
    output: str | os.PathLike[str],
    *,
    jobs: int = 1,
    cluster: str | None = None,
    threads: int = 1,
    overwrite: bool = False,
) -> SweepResult:
    """Allocate for every combination of the lists in `configuration`; write results.jsonl and results.csv.

    Args:
        model: the float ONNX file.
        configuration: options of allocate by name, each one value or a list of them; `cases`, a list of such tables, each laid
            over the others, where not every combination is wanted; data, validation; test, which results are measured on.
        output: the folder; every run gets a folder in it.
        jobs: processes of this machine.
        cluster: a dask scheduler's address or file, whose workers do the runs.
        threads: of torch in a run. Sums in another number of parts end in other last digits: with the same number, results are
            the same wherever the runs are done.
        overwrite: begin anew, and replace what is in the folder; another result there is refused otherwise.

    Raises:
        UsageError: an unknown option, a value that is none, or an output of another sweep (all found before any work starts).
        ClusterError: no workers can be had.
    """
    workers = Workers(jobs, cluster)
    if threads < 1:
        raise UsageError(f"--threads {threads}: must be at least 1")
    model = model_source(model)
    check_can_travel(workers, model)
    runs = list(runs_of(configuration))
    float_model = load_float_model(model)
    folder = Path(output)
    specs = sorted(
        {run.options[name] for run in runs for name in DATA_OPTIONS if run.options.get(name) is not None}
    )
    named = {spec: recorded({"data": spec}, folder)["data"] for spec in specs}
    tables = sorted({str(run.options["costs"]) for run in runs if run.options.get("costs") is not None})
    contents = contents_of(
        float_model,
        {f"costs {recorded({'costs': path}, folder)['costs']}": path for path in tables},
        **{named[spec]: float_model.open_data(spec) for spec in specs},
    )
    targets = sorted({run.options["target"] for run in runs if run.options.get("target") is not None})
    contents |= {
        f"{recorded({'target': target}, folder)['target']}{CONTENT}": load_target(target).digest
        for target in targets
    }
    make_room(folder, SWEEP, overwrite)
    state_request(
        folder / REQUEST_FILE,
        request_text(contents, {}, configuration=recorded(configuration, folder), threads=threads),
        f"{folder}: holds another sweep (other: {{differs}}); choose another folder, or --overwrite it",
    )
    waiting = [run for run in runs if not (folder / RUNS_FOLDER / run.name / RUN_FILE).is_file()]
    needs = Needs(model, {spec: contents[named[spec] + CONTENT] for spec in specs}, tables, targets)
    with counter("sweep", len(runs), "run", len(runs) - len(waiting)) as progress:
        asked = _Asked(needs, folder, threads)
        found = _in_turn(waiting, asked) if workers.here_alone else _spread(waiting, asked, workers)
        for row in found:
            if row.get("error"):
                warn(f"{row['run']}: {row['error']}")
            write_text(asked.place(row["run"]) / RUN_FILE, json.dumps(row, indent=1, default=float) + "\n")
            _write_results(runs, folder)
            progress.update()
    rows = _write_results(runs, folder)
    return SweepResult(str(folder), tuple(rows), sum("error" in row for row in rows))


@dataclass(frozen=True)
class _Asked:
    """What all runs of a sweep have in common."""

    needs: Needs
    folder: Path
    threads: int

    def place(self, name: str) -> Path:
        """The folder of a run."""
        return self.folder / RUNS_FOLDER / name

    def row(self, run: Run, found: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept of a run."""
        return {"run": run.name, **recorded(run.options, self.folder), **found}


def _in_turn(runs: Sequence[Run], asked: _Asked) -> Iterator[dict[str, Any]]:
    """The rows of `runs`, one after the other in this process."""
    shared = SharedWork()
    for run in runs:
        place = asked.place(run.name)
        shutil.rmtree(place, ignore_errors=True)  # what an interrupted run has left
        found = do_run(shared, asked.needs.model, run, str(place), asked.threads)
        yield asked.row(run, found)


def _spread(runs: Sequence[Run], asked: _Asked, workers: Workers) -> Iterator[dict[str, Any]]:
    """The same on workers, as they end; their files are put into place before."""
    if not runs:
        return
    jobs = [
        Job(
            f"run {run.name}",
            place := str(asked.place(run.name)),
            (asked.needs.model, run, place, asked.threads),
            run.likeness,
        )
        for run in runs
    ]
    by_folder = {job.folder: run for job, run in zip(jobs, runs, strict=True)}
    with crew(workers.at_most(len(runs)), lambda is_local: kit_for(do_run, asked.needs, is_local)) as found:
        for outcome in found.do(jobs):
            run = by_folder[outcome.job.folder]
            receive(outcome.files, Path(outcome.job.folder))
            if outcome.error is None:
                begin(f"run {run.name} is done")
                yield asked.row(run, outcome.value)
            else:
                yield asked.row(run, {"error": str(outcome.error)})


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
