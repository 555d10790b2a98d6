"""profile: a cost table of every multiply-accumulate node, measured on this machine or simulated. No torch unless measured."""

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import mpq_onnx
from mpq_onnx.datasets import DataSource, open_dataset, optional_source
from mpq_onnx.datasets.sampling import drawn
from mpq_onnx.errors import check_choice
from mpq_onnx.files import check_name
from mpq_onnx.graph.given_model import GivenModel, ModelSource, model_source
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.registries import SIMULATORS
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.handing_off import RANDOM_DATA, SEED, make_bundle
from mpq_onnx.runs.profile_options import ProfileOptions
from mpq_onnx.runs.result import Result
from mpq_onnx.simulators.environments import Installation, install
from mpq_onnx.simulators.job import FileCheck, Findings, Job, Precision, Profiler, Settings
from mpq_onnx.simulators.partial_results import SUFFIX
from mpq_onnx.simulators.simulated import SimulatedTool
from mpq_onnx.targets.cost_table import CostTable

WEIGHT_BITS = (2, 3, 4, 5, 6, 7, 8)
ACTIVATION_BITS = (8,)
UNIFORM_DATA = "random?count=16"
"""Ranges of the files that onnxruntime is timed on; times do not depend on values."""


@dataclass(frozen=True)
class ProfileResult(Result):
    """What was written."""

    path: str
    made_by: str
    nodes: int
    rows: int
    resources: tuple[str, ...]
    totals: dict[str, tuple[float, float]]
    """By resource: the sums over all nodes of their cheapest and of their dearest rows."""
    simulated: int
    """Layers at a precision that were simulated now; equal ones once."""
    reused: int
    """Those of an earlier profile that was interrupted."""
    checks: tuple[FileCheck, ...]
    """Whole files that were run (onnxruntime)."""
    notes: tuple[str, ...]

    DRAWN = "resource", "most"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a resource."""
        return [{"resource": name, "least": low, "most": high} for name, (low, high) in self.totals.items()]


@checked_arguments
def profile(
    model: ModelSource,
    output: str | os.PathLike[str],
    *,
    simulator: str,
    data: DataSource | None = None,
    options: ProfileOptions | None = None,
    device: str = "auto",
) -> ProfileResult:
    """Write the cost table of `model`.

    Args:
        model: a float file of `export`: a row for every pair of widths, or energy, of `options`. A quantized or noisy file: a
            row a node, at the widths and energies that it has.
        output: the CSV file (mpq_onnx.targets.cost_table). While it is being made, FILE.partial.jsonl beside it holds what is
            known; the same call goes on from there.
        simulator: a name in registries.SIMULATORS.
        data: data spec; examples tell shapes, and onnxruntime's ranges; seeded random inputs when omitted.

    Raises:
        UsageError: the simulator is not installed, or has no such architecture; the message says what to do.
        MpqOnnxError: see its other subclasses.
    """
    check_name(output, (".csv",), "a cost table")
    check_choice("with", simulator, SIMULATORS)
    chosen = options or ProfileOptions()
    profiler: Profiler = SIMULATORS[simulator]
    settings = Settings(**{field.name: getattr(chosen, field.name) for field in fields(Settings)})
    profiler.check(settings, energies=chosen.energies is not None)
    model, data = model_source(model), optional_source(data)
    loaded = load_model(model)
    dataset = drawn(open_dataset(data or RANDOM_DATA, model_inputs(loaded), loaded.metadata_props), SEED)
    bundle = make_bundle(str(model), loaded, dataset, measure=False, device=device)
    has_own = _has_own(bundle.layers, chosen)
    precisions = {name: _precisions(rows, chosen, has_own) for name, rows in _by_node(bundle.layers).items()}
    if any(each.energy_per_mac is not None for found in precisions.values() for each in found):
        profiler.check(settings, energies=True)
    path = Path(output)
    partial = path.with_name(path.name + SUFFIX)
    with tempfile.TemporaryDirectory(prefix="mpq-onnx-") as work:
        findings = profiler.profile(
            Job(
                path=_path_of(model, Path(work)),
                layers=bundle.layers,
                precisions=precisions,
                has_own=has_own,
                settings=settings,
                partial=partial,
                feeds=dataset.read([0]).inputs,
                uniform=lambda *bits: _uniform_file(model, data, bits, Path(work), device),
            )
        )
    table = CostTable(
        findings.rows,
        profiler.resources,
        f"mpq-onnx {mpq_onnx.__version__}: {findings.made_by}; model {Path(str(model)).name}",
    )
    table.save(path)
    partial.unlink(missing_ok=True)
    return _result(str(path), table, findings)


def _path_of(model: str | GivenModel, work: Path) -> str:
    """Of a file that holds the model."""
    if isinstance(model, str):
        return model
    path = work / "model.onnx"
    path.write_bytes(model.content)
    return str(path)


def _uniform_file(
    model: ModelSource, data: DataSource | None, bits: tuple[int, int], work: Path, device: str
) -> Path:
    """A file of these weight and activation bits, its weights as onnxruntime's fast kernels take them."""
    from mpq_onnx.runs.allocating import allocate
    from mpq_onnx.runs.options import AllocateOptions

    weight_bits, activation_bits = bits
    result = allocate(
        model,
        data or UNIFORM_DATA,
        work / "-".join(map(str, bits)),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        options=AllocateOptions(
            method="uniform", rounding="nearest", weight_scheme="symmetric", bit_choices=(weight_bits,),
            activation_bit_choices=(activation_bits,), device=device,
        ),
    )  # fmt: skip
    return Path(result.model_path)


def install_simulator(name: str, python: str | None = None) -> Installation:
    """Make the environment of a simulator; see simulators.environments.

    Raises:
        UsageError: it needs none, or a step failed.
    """
    check_choice(
        "install", name, [each for each in SIMULATORS if isinstance(SIMULATORS[each], SimulatedTool)]
    )
    return install(SIMULATORS[name].environment, python)


def _by_node(layers: Sequence[LayerRow]) -> dict[str, list[LayerRow]]:
    found: dict[str, list[LayerRow]] = {}
    for row in layers:
        found.setdefault(row.name, []).append(row)
    return found


def _has_own(layers: Sequence[LayerRow], options: ProfileOptions) -> bool:
    """The file has widths or energies, and no others were asked for."""
    if options.energies or options.weight_bits or options.activation_bits:
        return False
    return any(
        each is not None for row in layers for each in (row.weight_bits, row.input_bits, row.energy_per_mac)
    )


def _precisions(rows: Sequence[LayerRow], options: ProfileOptions, has_own: bool) -> list[Precision]:
    """Those of the file where it has some and none were asked for."""
    if options.energies:
        return [Precision(energy_per_mac=energy) for energy in options.energies]
    if has_own:
        own = rows[0].energy_per_mac
        if own is not None:
            return [Precision(energy_per_mac=float(np.mean(own)))]
        return [Precision(_held_bits(rows[0].weight_bits), _bits(rows[0].input_bits))]
    return [
        Precision(weight_bits, bits)
        for weight_bits in options.weight_bits or WEIGHT_BITS
        for bits in options.activation_bits or ACTIVATION_BITS
    ]


def _held_bits(bits: float | tuple[float, ...] | None) -> float:
    """The mean where channels differ: hardware that stores each at its own width has that many."""
    return _bits(float(np.mean(bits)) if isinstance(bits, tuple) else bits)


def _bits(bits: float | None) -> float:
    return math.inf if bits is None else bits


def _result(path: str, table: CostTable, findings: Findings) -> ProfileResult:
    return ProfileResult(
        path=path,
        made_by=table.made_by,
        nodes=len(table.nodes),
        rows=len(table.rows),
        resources=table.resources,
        totals={name: _total(table, name) for name in table.resources},
        simulated=findings.simulated,
        reused=findings.reused,
        checks=findings.checks,
        notes=findings.notes,
    )


def _total(table: CostTable, resource: str) -> tuple[float, float]:
    by_node: dict[str, list[float]] = {}
    for row in table.rows:
        by_node.setdefault(row.node, []).append(row.amounts[resource])
    return sum(map(min, by_node.values())), sum(map(max, by_node.values()))
