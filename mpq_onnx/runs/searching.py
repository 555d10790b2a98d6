"""search: the smallest budget, of energy or of bits, at which a metric still reaches a value.

Bisection on the logarithm of the budget. Every probe is an allocation of its own, evaluated on test data and kept as
probes/BUDGET.json; a search that is started again goes on from the probes that it finds.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpq_onnx.datasets import DataSource, data_source, optional_source
from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.files import write_text
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.model_file import save_model
from mpq_onnx.precision.limits import not_below
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.progress import begin
from mpq_onnx.runs.allocating import allocate
from mpq_onnx.runs.allocating_energy import digital_options
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.declared import check_is_number
from mpq_onnx.runs.earlier_results import SEARCH, make_room
from mpq_onnx.runs.energy_options import EnergyOptions, check_energy_budget
from mpq_onnx.runs.evaluating import evaluate
from mpq_onnx.runs.gates import reached as figures_of
from mpq_onnx.runs.goals import Drop, Goal, check_goals
from mpq_onnx.runs.noise_bench import NoiseBench, load_noise_free
from mpq_onnx.runs.option_values import energy_options_by_name
from mpq_onnx.runs.options import AllocateOptions, check_budgets
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runs.recorded_paths import recorded
from mpq_onnx.runs.requests import contents_of, plain_options, request_text, state_request
from mpq_onnx.runs.resource_limits import width_budgets
from mpq_onnx.runs.result import Result
from mpq_onnx.runs.results import (
    CALIBRATION_FILE,
    CONFIGURATION_FILE,
    DIGITAL_FOLDER,
    ENERGY_FILE,
    MODEL_FILE,
    folder_configuration,
)
from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.tensors import tensor_facts

WEIGHT_BITS = "weight_bits"
TOLERANCE = 0.02
LARGEST_AMOUNT = 1e300
PROBES_FOLDER = "probes"
REQUEST_FILE = "request.json"
SEARCH_FILE = "search.json"


@dataclass(frozen=True)
class Probe:
    """One budget that was tried."""

    budget: float
    metrics: dict[str, float]
    """Means over the repeats, on the test data."""
    reached: bool


@dataclass(frozen=True)
class SearchResult(Result):
    """What a search ended with."""

    folder: str
    best: Probe | None
    """The smallest budget that reached the goal; None where even the largest did not."""
    probes: tuple[Probe, ...]
    """In the order of the budgets."""
    model_path: str | None
    """The file of the best probe."""

    DRAWN = "budget", "value"

    @property
    def title(self) -> str:
        """The smallest budget, where one was found."""
        return (
            "goal not reached"
            if self.best is None
            else f"smallest budget that reaches the goal: {self.best.budget:g}"
        )

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a probe; `value` is that of its first metric."""
        return [
            {
                "budget": each.budget,
                "reached": each.reached,
                "value": next(iter(each.metrics.values()), None),
                **each.metrics,
            }
            for each in self.probes
        ]


@dataclass(frozen=True)
class Interval:
    """Budgets to search between, and how close to come."""

    low: float
    high: float
    tolerance: float = TOLERANCE
    """Relative: the search ends when the budgets that reach and miss the goal are this close."""

    def __post_init__(self) -> None:
        for name in ("low", "high", "tolerance"):
            check_is_number(name, getattr(self, name))
        if not 0 < self.low < self.high < math.inf:
            raise UsageError(f"budgets from {self.low:g} to {self.high:g}: give 0 < low < high")
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance {self.tolerance:g}: give a number between 0 and 1")


@checked_arguments
def search_energy(
    model: ModelSource,
    data: DataSource,
    test: DataSource,
    output: str | os.PathLike[str],
    *,
    goals: tuple[Goal | Drop, ...],
    interval: Interval,
    options: EnergyOptions,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    digital: AllocateOptions | None = None,
    validation: DataSource | None = None,
    overwrite: bool = False,
) -> SearchResult:
    """The smallest mean energy per MAC that reaches `goals` on `test`.

    Args:
        model: a noise-free ONNX file, float or quantized.
        data, validation: as for allocate_energy.
        test: data spec that the goals are judged on, options.repeats times.
        output: folder; made when missing.
        weight_bits, activation_bits, digital: quantize a float model first, as for allocate_energy.
        overwrite: begin anew, and replace what is in the folder; another result there is refused otherwise.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    check_goals(goals)
    model, data, test = model_source(model), data_source(data), data_source(test)
    validation = optional_source(validation)
    check_energy_budget(interval.low, options)
    digital = digital_options(weight_bits, activation_bits, digital, options)
    base = load_noise_free(model)
    folder = Path(output)
    training_set, test_set = base.open_data(data), base.open_data(test)
    held_out = base.open_data(validation) if validation is not None else None
    contents = contents_of(
        base, {"costs": options.costs}, data=training_set, test=test_set, validation=held_out
    )
    specs = {"data": data, "test": test, "validation": validation}
    budgets = {"weight_bits": weight_bits, "activation_bits": activation_bits}
    widths = {} if digital is None else {**plain_options(digital), **budgets}
    request = request_text(
        contents,
        recorded(plain_options(options), folder),
        **recorded(specs, folder),
        digital=recorded(widths, folder),
    )
    _prepare(folder, request, overwrite)
    asked = {"model": model, **specs, **budgets, **energy_options_by_name(options, digital)}
    _write_configuration(folder, goals, interval, asked)
    if digital is not None:
        path = folder / DIGITAL_FOLDER / MODEL_FILE
        if not path.is_file():
            allocate(
                model,
                data,
                path.parent,
                weight_bits=weight_bits,
                activation_bits=activation_bits,
                validation=validation,
                options=digital,
                overwrite=True,
            )
        base = load_noise_free(path)
    bench = NoiseBench(base, training_set, held_out, options)

    def probe(budget: float, place: Path) -> Evaluation:
        at_budget = bench.at(budget, options, place)
        allocation = at_budget.allocation(at_budget.best())
        allocation.save(place / ENERGY_FILE)
        save_model(bench.graph(allocation), place / MODEL_FILE)
        return bench.evaluate(allocation, test_set, options.repeats)

    return _bisect(folder, probe, goals, interval)


@checked_arguments
def search_bits(
    model: ModelSource,
    data: DataSource,
    test: DataSource,
    output: str | os.PathLike[str],
    *,
    goals: tuple[Goal | Drop, ...],
    interval: Interval,
    options: AllocateOptions,
    minimize: str = WEIGHT_BITS,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    calibration: str | os.PathLike[str] | None = None,
    validation: DataSource | None = None,
    overwrite: bool = False,
) -> SearchResult:
    """The smallest budget of widths that reaches `goals` on `test`; arguments as for search_energy and allocate.

    Calibration, mirror, grids and costs are made once for all probes.

    Args:
        minimize: "weight_bits", their mean, or a resource (see registries.RESOURCES and options.costs).
        weight_bits: bounds the mean where a resource is minimized.
    """
    check_goals(goals)
    model, data, test = model_source(model), data_source(data), data_source(test)
    validation = optional_source(validation)
    spent = _Minimized(minimize, weight_bits, activation_bits, options)
    for end in (interval.low, interval.high):
        spent.check(end)
    float_model = load_float_model(model)
    folder = Path(output)
    specs = {"data": data, "test": test, "validation": validation}
    opened = {name: float_model.open_data(spec) for name, spec in specs.items() if spec is not None}
    contents = contents_of(float_model, {"calibration": calibration, "costs": options.costs}, **opened)
    budgets = {"minimize": minimize, "weight_bits": weight_bits, "activation_bits": activation_bits}
    text = request_text(
        contents, recorded(plain_options(options), folder), **budgets, **recorded(specs, folder)
    )
    _prepare(folder, text, overwrite)
    request = {"model": model, **specs, **budgets}
    if calibration is not None:
        request["calibration"] = str(calibration)
    _write_configuration(folder, goals, interval, {**request, **dataclasses.asdict(options)})
    shared = SharedWork()
    measured = folder / CALIBRATION_FILE

    def probe(budget: float, place: Path) -> Evaluation:
        result = allocate(
            model,
            data,
            place,
            **spent.at(budget),
            calibration=calibration,
            validation=validation,
            overwrite=True,  # what an interrupted probe has left
            shared=shared,
        )
        if not measured.is_file():
            write_text(measured, (place / CALIBRATION_FILE).read_text(encoding="utf-8"))
        return evaluate(result.model_path, test, baseline=model, device=options.device).evaluation

    return _bisect(folder, probe, goals, interval)


@dataclass(frozen=True)
class _Minimized:
    """What of an allocation of widths is as small as can be."""

    what: str
    weight_bits: float | None
    activation_bits: float | None
    options: AllocateOptions

    def check(self, budget: float) -> None:
        """Raise UsageError for a budget that no choice of widths keeps."""
        if self.what == WEIGHT_BITS and self.weight_bits is not None:
            raise UsageError(
                "--weight-bits is what such a search finds; give --from and --to, or --minimize another"
            )
        if self.what in self.options.limits:
            raise UsageError(f"--max {self.what}: is what the search finds; give --from and --to")
        asked = self.at(budget)
        check_budgets(asked["weight_bits"], asked["activation_bits"], asked["options"])

    def at(self, budget: float) -> dict[str, Any]:
        """The arguments of allocate that say what may be spent."""
        if self.what == WEIGHT_BITS:
            return {"weight_bits": budget, "activation_bits": self.activation_bits, "options": self.options}
        limited = dataclasses.replace(self.options, max=(*self.options.max, f"{self.what}={budget!r}"))
        return {"weight_bits": self.weight_bits, "activation_bits": self.activation_bits, "options": limited}


@checked_arguments
def resource_interval(
    model: ModelSource,
    data: DataSource,
    resource: str,
    options: AllocateOptions,
    *,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    tolerance: float = TOLERANCE,
) -> Interval:
    """From the least of a resource that the choices, and other budgets, allow to what the widest of them take.

    Raises:
        UsageError: no such resource, or other budgets that cannot be kept.
    """
    spent = _Minimized(resource, weight_bits, activation_bits, options)
    spent.check(LARGEST_AMOUNT)
    float_model = load_float_model(model)
    facts = tensor_facts(float_model.model, float_model.open_data(data_source(data)), options.device)
    unlimited, means = spent.at(LARGEST_AMOUNT)["options"], (weight_bits, activation_bits)
    joint = width_budgets(float_model.model, facts, means, unlimited, float_model.path).joint
    if joint is None:
        raise UsageError(f"--minimize {resource}: every width is given, so there is nothing to choose")
    least, most = joint.range_of(resource)
    low, high = (float(not_below(end)) for end in (least, most))
    return Interval(low, high, tolerance)


def _prepare(folder: Path, request: str, overwrite: bool) -> None:
    """Refuse to go on from another search's probes, or to write among other results."""
    make_room(folder, SEARCH, overwrite)
    state_request(
        folder / PROBES_FOLDER / REQUEST_FILE,
        request,
        f"{folder} holds the probes of another search (other: {{differs}}); choose another folder, or --overwrite it",
    )


def _write_configuration(
    folder: Path, goals: tuple[Goal | Drop, ...], interval: Interval, options: Mapping[str, Any]
) -> None:
    """What --config of another search takes."""
    asked = {
        "min": [f"{goal.metric}={goal.least!r}" for goal in goals if isinstance(goal, Goal)],
        "max-drop": [f"{goal.metric}={goal.most!r}" for goal in goals if isinstance(goal, Drop)],
    }
    ends = {"from": interval.low, "to": interval.high, "tolerance": interval.tolerance}
    write_text(folder / CONFIGURATION_FILE, folder_configuration({**options, **asked, **ends}, folder))


def _bisect(
    folder: Path,
    probe: Callable[[float, Path], Evaluation],
    goals: tuple[Goal | Drop, ...],
    interval: Interval,
) -> SearchResult:
    probes: dict[float, Probe] = {}

    def reaches(budget: float) -> bool:
        place = folder / PROBES_FOLDER / f"{budget:.6g}"
        kept = place / "probe.json"
        if kept.is_file():
            found = json.loads(kept.read_text(encoding="utf-8"))
            metrics, baseline = found["metrics"], found.get("baseline", {})
        else:
            begin(f"probe at a budget of {budget:g}")
            place.mkdir(parents=True, exist_ok=True)
            measured = probe(budget, place)
            wanted = {*measured.metrics, *(goal.metric for goal in goals)}
            metrics = {name: each.value for name, each in figures_of(measured).items() if name in wanted}
            compared = measured.comparison.metrics if measured.comparison is not None else {}
            baseline = {name: each.value for name, each in compared.items()}
            write_text(kept, json.dumps({"budget": budget, "metrics": metrics, "baseline": baseline}) + "\n")
        for goal in goals:
            if goal.metric not in metrics:
                raise DataError(f"{goal.metric}: not measured here; there is {', '.join(metrics)}")
        reached = all(goal.is_reached(metrics, baseline) for goal in goals)
        probes[budget] = Probe(budget, metrics, reached)
        return reached

    low, high = interval.low, interval.high
    if reaches(high):
        if reaches(low):
            high = low
        while high / low > 1 + interval.tolerance:
            middle = float(f"{math.sqrt(low * high):.6g}")
            low, high = (low, middle) if reaches(middle) else (middle, high)
    ordered = tuple(probes[budget] for budget in sorted(probes))
    best = next((each for each in ordered if each.budget == high and each.reached), None)
    path = str(folder / PROBES_FOLDER / f"{best.budget:.6g}" / MODEL_FILE) if best is not None else None
    result = SearchResult(str(folder), best, ordered, path)
    in_file = dataclasses.replace(
        result, folder=".", model_path=None if path is None else Path(path).relative_to(folder).as_posix()
    )
    write_text(folder / SEARCH_FILE, json.dumps(dataclasses.asdict(in_file), indent=1) + "\n")
    return result
