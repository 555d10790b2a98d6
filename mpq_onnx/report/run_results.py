"""What allocate and sweep left in a folder, read back for a report."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mpq_onnx.datasets.spec_paths import name_alone, spec_by_name
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import DataError
from mpq_onnx.report.pareto import RESOURCES

SPENT = ("mean_weight_bits", "mean_activation_bits", "weight_bytes", "bit_operations", "mean_energy_per_mac")
"""Of an allocation in result.json."""
CONFIGURATION_FILE = "config.yaml"
LABEL_SOURCES = {
    "data": "labels from the data",
    "baseline": "labels from the float model",
    "none": "no labels",
}
"""In words, by what an evaluation calls them."""
BIT_OPERATIONS = "bops"
"""The resource whose column is bit_operations."""


@dataclass(frozen=True)
class RunResults:
    """One run of allocate."""

    name: str
    allocation: Allocation | None
    energy: EnergyAllocation | None
    nodes: tuple[Mapping[str, Any], ...]
    """SQNR, or signal to noise, of every node, as result.json has them."""
    card: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]
    """What allocate said on the way."""
    labels: str
    """Where those that accuracy was measured by came from, a key of LABEL_SOURCES."""


@dataclass(frozen=True)
class FolderResults:
    """A run, or a sweep of many."""

    rows: tuple[Mapping[str, Any], ...]
    """One a run; of a single run, one a candidate."""
    runs: tuple[RunResults, ...]
    facts: Mapping[str, str]
    """What all of it was made of, for the top of the page: model, data, date."""
    swept: bool


def read_folder(folder: Path) -> FolderResults:
    """The results in `folder`.

    Raises:
        DataError: neither a sweep's folder nor a run's.
        AllocationError: an allocation that cannot be read.
    """
    sweep, single = folder / "results.jsonl", folder / "result.json"
    try:
        if sweep.is_file():
            rows = [json.loads(line) for line in sweep.read_text(encoding="utf-8").splitlines()]
            folders = [folder / "runs" / str(row["run"]) for row in rows]
            runs = [_read_run(each) for each in folders if (each / "result.json").is_file()]
            facts = _facts(folders, sweep) | _measured_on(rows, runs)
            return FolderResults(tuple(rows), tuple(runs), facts, swept=True)
        if single.is_file():
            run, rows = _read_run(folder), _candidate_rows(json.loads(single.read_text(encoding="utf-8")))
            facts = _facts([folder], single) | _measured_on(rows, [run])
            return FolderResults(tuple(rows), (run,), facts, swept=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DataError(f"{folder}: its results cannot be read: {error}; run the command again") from error
    raise DataError(f"{folder}: holds no results.jsonl of a sweep and no result.json of allocate")


def _read_run(folder: Path) -> RunResults:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    allocation, energy, card = folder / "allocation.json", folder / "energy.json", folder / "card.json"
    return RunResults(
        name=folder.name,
        allocation=Allocation.load(allocation) if allocation.is_file() else None,
        energy=EnergyAllocation.load(energy) if energy.is_file() else None,
        nodes=tuple(result["nodes"]),
        card=json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {},
        notes=tuple(map(str, result.get("notes", ()))),
        labels=str(result["chosen"]["evaluation"].get("labels", "")),
    )


def _facts(folders: Sequence[Path], results: Path) -> dict[str, str]:
    """Model and data by name, as the configurations of runs have their paths from other folders; and when the results were
    written."""
    found: dict[str, dict[str, None]] = {}
    for path in (folder / CONFIGURATION_FILE for folder in folders):
        options = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for name, shown in (("model", name_alone), ("data", spec_by_name), ("validation", spec_by_name)):
            if options.get(name) is not None:
                found.setdefault(name, {})[shown(str(options[name]))] = None
    written = datetime.datetime.fromtimestamp(results.stat().st_mtime, datetime.timezone.utc)
    return {name: " and ".join(texts) for name, texts in found.items()} | {
        "date": f"{written:%Y-%m-%d %H:%M} UTC"
    }


def _measured_on(rows: Sequence[Mapping[str, Any]], runs: Sequence[RunResults]) -> dict[str, str]:
    """The test data, and how many examples of whatever the results were measured on, by whose labels."""
    tests = dict.fromkeys(spec_by_name(str(row["test"])) for row in rows if row.get("test"))
    counts = dict.fromkeys(row["examples"] for row in rows if row.get("examples"))
    found = {"test": " and ".join(tests)} if tests else {}
    if counts:
        found["measured on"] = f"{' or '.join(f'{count:,}' for count in counts)} examples of " + (
            "the test data" if tests else "the validation data"
        )
        sources = dict.fromkeys(LABEL_SOURCES[run.labels] for run in runs if run.labels in LABEL_SOURCES)
        found["measured on"] += "".join(f", {source}" for source in sources)
    return found


def _candidate_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a candidate, in the columns of a sweep; * is what was kept."""
    rows = {}
    for candidate in (result["uniform"], *result["candidates"]):
        allocation, evaluation = candidate["allocation"], candidate["evaluation"]
        settings, budget = allocation["settings"], allocation["budget"]
        row: dict[str, Any] = {
            "run": candidate["name"],
            "method": candidate["name"],
            "granularity": settings.get("granularity"),
            "noise": settings.get("noise"),
            "unit": allocation.get("unit"),
            **(budget if isinstance(budget, dict) else {"energy_per_mac": budget}),
            "pareto": candidate["name"] == result["chosen"]["name"],
            "examples": evaluation["examples"],
        }
        for name in SPENT:
            if allocation.get(name) is not None:
                row[name] = allocation[name]
        row |= resource_columns(candidate.get("resources") or {})
        row |= metric_columns(evaluation)
        comparison = evaluation.get("comparison")
        if comparison and isinstance(comparison.get("output_sqnr"), float):
            row["output_sqnr"] = comparison["output_sqnr"]
        rows[candidate["name"]] = row
    return list(rows.values())


def resource_columns(resources: Mapping[str, float]) -> dict[str, Any]:
    """What a device counts as columns, and which they are; bit operations have a column in any case."""
    own = {name: amount for name, amount in resources.items() if name != BIT_OPERATIONS}
    return {**own, RESOURCES: [*own]} if own else {}


def metric_columns(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """An evaluation's metrics (as result.json has them) with their intervals, and the float model's, as columns."""
    found: dict[str, float] = {}
    for name, estimate in evaluation["metrics"].items():
        found |= {name: estimate["value"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
    comparison = evaluation.get("comparison") or {"metrics": {}}
    return found | {f"float_{name}": estimate["value"] for name, estimate in comparison["metrics"].items()}
