"""search: the smallest budget, of energy or of bits, at which a metric still reaches a value.

Bisection on the logarithm of the budget, or several probes at once that part the interval. Every probe is an allocation of its
own, evaluated on test data and kept in probes/BUDGET; a search that is started again goes on from the probes that it finds.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpq_onnx.cluster.opening import Workers
from mpq_onnx.datasets import DataSource, InMemory, data_source, optional_source
from mpq_onnx.errors import UsageError
from mpq_onnx.files import write_text
from mpq_onnx.graph.given_model import GivenModel, ModelSource, model_source
from mpq_onnx.precision.limits import not_below
from mpq_onnx.runs.allocating import allocate
from mpq_onnx.runs.allocating_energy import digital_options
from mpq_onnx.runs.alone import alone_in_output
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.digital_half import check_noise_to_come
from mpq_onnx.runs.earlier_results import LEFT, SEARCH, make_room, remove
from mpq_onnx.runs.energy_limits import range_of_equal, smallest_energy
from mpq_onnx.runs.energy_options import EnergyOptions, check_energy_budget
from mpq_onnx.runs.goals import Drop, Goal, check_goals
from mpq_onnx.runs.noisy_graph import find_mac_sites, load_noise_free
from mpq_onnx.runs.option_values import energy_options_by_name
from mpq_onnx.runs.options import AllocateOptions, check_budgets
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runs.probes import (
    ENERGY_PER_MAC,
    FROM,
    TO,
    WEIGHT_BITS,
    BitsProbe,
    EnergyProbe,
    Minimized,
    prober,
)
from mpq_onnx.runs.probing import (
    PROBE_FILE,
    PROBES_FOLDER,
    TOLERANCE,
    Interval,
    SearchResult,
    find_smallest,
    probe_folder,
)
from mpq_onnx.runs.recorded_paths import recorded
from mpq_onnx.runs.requests import CONTENT, contents_of, plain_options, request_text, state_request
from mpq_onnx.runs.resource_limits import width_budgets
from mpq_onnx.runs.results import (
    CONFIGURATION_FILE,
    DIGITAL_FOLDER,
    MODEL_FILE,
    folder_configuration,
)
from mpq_onnx.runs.run_folder import CALIBRATION_FILE
from mpq_onnx.runs.travel import Needs, check_can_travel
from mpq_onnx.runtime.tensors import tensor_facts

LARGEST_AMOUNT = 1e300
SMALLEST_MEAN, LARGEST_MEAN = 0.1, 1000.0
"""Energies per MAC that a search looks between."""
REQUEST_FILE = "request.json"


@checked_arguments
@alone_in_output
def search_energy(
    model: ModelSource,
    data: DataSource,
    test: DataSource,
    output: str | os.PathLike[str],
    *,
    goals: tuple[Goal | Drop, ...],
    interval: Interval,
    options: EnergyOptions,
    minimize: str = ENERGY_PER_MAC,
    weight_bits: float | None = None,
    activation_bits: float | None = None,
    digital: AllocateOptions | None = None,
    calibration: str | os.PathLike[str] | None = None,
    validation: DataSource | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    overwrite: bool = False,
) -> SearchResult:
    """The smallest mean energy per MAC, or the least of a resource, that reaches `goals` on `test`.

    Args:
        model: a noise-free ONNX file, float or quantized.
        data, validation: as for allocate_energy.
        test: data spec that the goals are judged on, options.repeats times.
        output: folder; made when missing.
        minimize: "energy_per_mac", their mean, or a column of options.costs.
        weight_bits, activation_bits, digital, calibration: quantize a float model first, as for allocate_energy.
        jobs: processes of this machine; several do as many probes at once.
        cluster: a dask scheduler's address or file, whose workers do the probes.
        overwrite: begin anew, and replace what is in the folder; another result there is refused otherwise.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    workers = Workers(jobs, cluster)
    check_goals(goals)
    model, data, test = model_source(model), data_source(data), data_source(test)
    validation = optional_source(validation)
    check_can_travel(workers, model, data, test, validation)
    spent = Minimized(minimize, {ENERGY_PER_MAC: None}, options)
    for option, end in ((FROM, interval.low), (TO, interval.high)):
        spent.check(option, end, check_energy_budget)
    if minimize == ENERGY_PER_MAC and interval.low < (smallest := smallest_energy(options)):
        raise UsageError(
            f"{FROM} {interval.low:g}: cannot be reached; the smallest that all nodes have rows for in the cost table is"
            f" {smallest:g}"
        )
    digital = digital_options(weight_bits, activation_bits, digital, options, calibration)
    base = load_noise_free(model)
    if digital is not None:
        check_noise_to_come(model, data, (weight_bits, activation_bits), digital, options)
    folder = Path(output)
    training_set, test_set = base.open_data(data), base.open_data(test)
    held_out = base.open_data(validation) if validation is not None else None
    files = {"calibration": calibration, "costs": options.costs}
    contents = contents_of(base, files, data=training_set, test=test_set, validation=held_out)
    specs = {"data": data, "test": test, "validation": validation}
    budgets = {"weight_bits": weight_bits, "activation_bits": activation_bits}
    widths = {} if digital is None else {**plain_options(digital), **budgets}
    request = request_text(
        contents,
        recorded(plain_options(options), folder),
        minimize=minimize,
        **recorded(specs, folder),
        digital=recorded(widths, folder),
    )
    _prepare(folder, request, overwrite)
    asked = {
        "model": model, **specs, **budgets, "minimize": minimize, **energy_options_by_name(options, digital),
        "calibration": None if calibration is None else str(calibration),
    }  # fmt: skip
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
                calibration=calibration,
                validation=validation,
                options=digital,
                overwrite=True,
            )
        model = str(path)
    probe = EnergyProbe(model, data, test, validation, goals, spent)
    needs = _needs(model, contents, specs, options.costs, target=options.target)
    with prober(workers, folder, probe, needs) as found:
        return find_smallest(folder, found, goals, interval)


@checked_arguments
@alone_in_output
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
    jobs: int = 1,
    cluster: str | None = None,
    overwrite: bool = False,
) -> SearchResult:
    """The smallest budget of widths that reaches `goals` on `test`; arguments as for search_energy and allocate.

    Calibration, mirror, grids and costs are made once for all probes.

    Args:
        minimize: "weight_bits", their mean, or a resource (see registries.RESOURCES and options.costs).
        weight_bits: bounds the mean where a resource is minimized.
    """
    workers = Workers(jobs, cluster)
    check_goals(goals)
    model, data, test = model_source(model), data_source(data), data_source(test)
    validation = optional_source(validation)
    check_can_travel(workers, model, data, test, validation)
    means = {"weight_bits": weight_bits, "activation_bits": activation_bits}
    spent = Minimized(minimize, means, options)
    for option, end in ((FROM, interval.low), (TO, interval.high)):
        spent.check(option, end, check_budgets)
    float_model = load_float_model(model)
    folder = Path(output)
    specs = {"data": data, "test": test, "validation": validation}
    opened = {name: float_model.open_data(spec) for name, spec in specs.items() if spec is not None}
    contents = contents_of(float_model, {"calibration": calibration, "costs": options.costs}, **opened)
    budgets = {"minimize": minimize, **means}
    text = request_text(
        contents, recorded(plain_options(options), folder), **budgets, **recorded(specs, folder)
    )
    _prepare(folder, text, overwrite)
    request = {"model": model, **specs, **budgets}
    if calibration is not None:
        request["calibration"] = str(calibration)
    _write_configuration(folder, goals, interval, {**request, **dataclasses.asdict(options)})
    probe = BitsProbe(
        model, data, test, validation, None if calibration is None else str(calibration), goals, spent
    )
    needs = _needs(model, contents, specs, options.costs, calibration, target=options.target)
    with prober(workers, folder, probe, needs) as found:
        result = find_smallest(folder, found, goals, interval)
    if result.probes and not (folder / CALIBRATION_FILE).is_file():  # the same for all of them
        measured = probe_folder(folder, result.probes[0].budget) / CALIBRATION_FILE
        write_text(folder / CALIBRATION_FILE, measured.read_text(encoding="utf-8"))
    return result


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
    means = {"weight_bits": weight_bits, "activation_bits": activation_bits}
    spent = Minimized(resource, means, options)
    spent.check(TO, LARGEST_AMOUNT, check_budgets)
    float_model = load_float_model(model)
    facts = tensor_facts(float_model.model, float_model.open_data(data_source(data)), options.device)
    unlimited = spent.at(LARGEST_AMOUNT)["options"]
    joint = width_budgets(
        float_model.model, facts, (weight_bits, activation_bits), unlimited, float_model.path
    ).joint
    if joint is None:
        raise UsageError(f"--minimize {resource}: every width is given, so there is nothing to choose")
    return _between(*joint.range_of(resource), tolerance)


def usual_energies(options: EnergyOptions, tolerance: float = TOLERANCE) -> Interval:
    """Mean energies to search between where none are given: from 0.1 to 1000, or as far down as there are energies.

    Raises:
        UsageError, AllocationError: see smallest_energy.
    """
    low = max(SMALLEST_MEAN, smallest_energy(options))
    high = LARGEST_MEAN if low < LARGEST_MEAN else low * LARGEST_MEAN / SMALLEST_MEAN
    return Interval(low, high, tolerance)


@checked_arguments
def energy_interval(
    model: ModelSource,
    data: DataSource,
    resource: str,
    options: EnergyOptions,
    *,
    tolerance: float = TOLERANCE,
) -> Interval:
    """As resource_interval, of energies per MAC: from what equal energies take at least to what they take at most.

    Args:
        model: a noise-free ONNX file, float or quantized.
        resource: a column of options.costs.

    Raises:
        UsageError: no such column, or energies that no allowed one lies among.
    """
    spent = Minimized(resource, {ENERGY_PER_MAC: None}, options)
    spent.check(TO, LARGEST_AMOUNT, check_energy_budget)
    base = load_noise_free(model_source(model))
    sites = find_mac_sites(base, base.open_data(data_source(data)), options)
    unlimited = spent.at(LARGEST_AMOUNT)["options"]
    return _between(*range_of_equal(base, sites, unlimited, resource), tolerance)


def _between(least: float, most: float, tolerance: float) -> Interval:
    low, high = (float(not_below(end)) for end in (least, most))
    return Interval(low, high, tolerance)


def _needs(
    model: str | GivenModel,
    contents: Mapping[str, str | None],
    specs: Mapping[str, str | InMemory | None],
    *files: str | os.PathLike[str] | None,
    target: str | None,
) -> Needs:
    """What a worker has to have for the probes."""
    data = {spec: contents[name + CONTENT] for name, spec in specs.items() if spec is not None}
    return Needs(model, data, [str(path) for path in files if path is not None], [target] if target else [])


def _prepare(folder: Path, request: str, overwrite: bool) -> None:
    """Refuse to go on from another search's probes, or to write among other results."""
    make_room(folder, SEARCH, overwrite)
    stated = folder / PROBES_FOLDER / REQUEST_FILE
    if not any(stated.parent.glob(f"*/{PROBE_FILE}")) and not _states(stated, request):
        remove(folder, LEFT[SEARCH])  # of a search that was refused, or interrupted, before its first probe
    state_request(
        stated,
        request,
        f"{folder} holds the probes of another search (other: {{differs}}); choose another folder, or --overwrite it",
    )


def _states(path: Path, request: str) -> bool:
    return not path.is_file() or path.read_text(encoding="utf-8") == request


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
