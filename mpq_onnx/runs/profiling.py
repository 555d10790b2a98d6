"""profile: a cost table of every multiply-accumulate node, measured on this machine or simulated. No torch unless measured."""

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.datasets.sampling import drawn
from mpq_onnx.errors import UsageError, check_choice
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.registries import SIMULATORS
from mpq_onnx.runs.declared import MACHINE, METHOD, check_options, option
from mpq_onnx.runs.handing_off import RANDOM_DATA, SEED, make_bundle
from mpq_onnx.simulators.environments import Installation, install
from mpq_onnx.simulators.job import FileCheck, Findings, Job, Precision, Profiler, Settings
from mpq_onnx.simulators.partial_results import SUFFIX
from mpq_onnx.simulators.simulated import SimulatedTool
from mpq_onnx.targets.cost_table import CostTable

WEIGHT_BITS = (2, 3, 4, 5, 6, 7, 8)
ACTIVATION_BITS = (8,)
UNIFORM_DATA = "random?count=16"
"""Ranges of the files that onnxruntime is timed on; times do not depend on values."""
OPTIMIZE = ("edp", "energy", "latency")


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """What is profiled, and how."""

    architecture: str | None = option(
        None, METHOD, "Hardware that is simulated: a name, or a file (docs/simulators.md).", metavar="FILE|NAME",
        shown_default="tpu_like, systolic_32x32, isaac",
    )  # fmt: skip
    weight_bits: tuple[float, ...] | None = option(
        None,
        METHOD,
        "Widths of weights, every pair with those of activations.",
        shown_default="2 to 8; those of a quantized MODEL",
    )
    activation_bits: tuple[float, ...] | None = option(
        None, METHOD, "Widths of activations.", shown_default="8; those of a quantized MODEL"
    )
    energies: tuple[float, ...] | None = option(
        None, METHOD, "Energies per MAC instead of widths, where the hardware is analog: photons, or repeats in memory.",
        shown_default="none; those of a noisy MODEL",
    )  # fmt: skip
    optimize: str = option(
        "edp",
        METHOD,
        "What a simulator's mapper looks for: energy times delay, or one of them.",
        choices=OPTIMIZE,
    )
    clock_mhz: float = option(1000.0, METHOD, "Clock of simulators that count cycles.", above=0)
    adc_bits: int | None = option(
        None, METHOD, "accelforge: resolution of the converters.", least=1, most=16,
        shown_default="the architecture's; what the noise leaves, with energies",
    )  # fmt: skip
    laser_efficiency: float = option(
        1e-3,
        METHOD,
        "accelforge: light at the detectors over electrical energy of the lasers.",
        above=0,
        most=1,
    )
    variables: tuple[str, ...] = option(
        (), METHOD, "accelforge: a variable of the architecture, such as scaling=aggressive (repeatable).",
        metavar="NAME=VALUE",
    )  # fmt: skip
    python: str | None = option(
        None, MACHINE, "Interpreter of the simulator's environment.", metavar="PATH",
        shown_default="MPQ_ONNX_<NAME>_PYTHON, else what --install made",
    )  # fmt: skip
    threads: int = option(1, MACHINE, "onnxruntime: threads of one run.", least=1)
    runs: int = option(100, MACHINE, "onnxruntime: runs of every file, of which the median counts.", least=3)

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("weight_bits", "activation_bits"):
            for bits in getattr(self, name) or ():
                if not (bits == int(bits) and 1 <= bits <= 32):
                    raise UsageError(
                        f"--{name.replace('_', '-')} {bits:g}: whole widths from 1 to 32 are profiled"
                    )
        for variable in self.variables:
            if not all(variable.partition("=")):
                raise UsageError(f"--variables {variable}: write NAME=VALUE")
        for energy in self.energies or ():
            if not 0 < energy < math.inf:
                raise UsageError(f"--energies {energy:g}: give numbers above 0")
        if self.energies and (self.weight_bits or self.activation_bits):
            raise UsageError(
                "--energies stands instead of --weight-bits and --activation-bits: profile twice for both"
            )

    @property
    def settings(self) -> Settings:
        """What simulators read of it."""
        return Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})


@dataclass(frozen=True)
class ProfileResult:
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


def profile(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    simulator: str,
    data: str | None = None,
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
    check_choice("with", simulator, SIMULATORS)
    chosen = options or ProfileOptions()
    profiler: Profiler = SIMULATORS[simulator]
    profiler.check(chosen.settings, energies=chosen.energies is not None)
    loaded = load_model(model)
    dataset = drawn(open_dataset(data or RANDOM_DATA, model_inputs(loaded), loaded.metadata_props), SEED)
    bundle = make_bundle(str(model), loaded, dataset, measure=False, device=device)
    has_own = _has_own(bundle.layers, chosen)
    precisions = {name: _precisions(rows, chosen, has_own) for name, rows in _by_node(bundle.layers).items()}
    if any(each.energy_per_mac is not None for found in precisions.values() for each in found):
        profiler.check(chosen.settings, energies=True)
    path = Path(output)
    partial = path.with_name(path.name + SUFFIX)
    with tempfile.TemporaryDirectory(prefix="mpq-onnx-") as work:
        findings = profiler.profile(
            Job(
                path=str(model),
                layers=bundle.layers,
                precisions=precisions,
                has_own=has_own,
                settings=chosen.settings,
                partial=partial,
                feeds=dataset.read([0]).inputs,
                uniform=lambda bits: _uniform_file(model, data, bits, Path(work), device),
            )
        )
    table = CostTable(
        findings.rows,
        profiler.resources,
        f"mpq-onnx {mpq_onnx.__version__}: {findings.made_by}; model {Path(model).name}",
    )
    table.save(path)
    partial.unlink(missing_ok=True)
    return _result(str(path), table, findings)


def _uniform_file(
    model: str | os.PathLike[str], data: str | None, activation_bits: int, work: Path, device: str
) -> Path:
    """A file whose weights have 8 bits, stored as onnxruntime's fast kernels take them."""
    from mpq_onnx.runs.allocating import allocate
    from mpq_onnx.runs.options import AllocateOptions

    result = allocate(
        model,
        data or UNIFORM_DATA,
        work / f"a{activation_bits}",
        weight_bits=8,
        activation_bits=activation_bits,
        options=AllocateOptions(
            method="uniform", rounding="nearest", weight_scheme="symmetric", activation_bit_choices=(activation_bits,),
            device=device,
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
