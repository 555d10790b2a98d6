"""What a profiler is asked for, and what it answers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.targets.cost_table import CostRow

LATENCY, ENERGY = "latency_ms", "energy_uj"


@dataclass(frozen=True)
class Precision:
    """At what a layer is simulated: what the keys of a row of a cost table say."""

    weight_bits: float | None = None
    """math.inf for float, None where it does not matter."""
    activation_bits: float | None = None
    energy_per_mac: float | None = None

    def __str__(self) -> str:
        """Such as W4 A8, in errors."""
        if self.energy_per_mac is not None:
            return f"{self.energy_per_mac:g} a MAC"
        return f"W{_said(self.weight_bits)} A{_said(self.activation_bits)}"


def _said(bits: float | None) -> str:
    return "any" if bits is None else "float" if math.isinf(bits) else f"{bits:g}"


@dataclass(frozen=True)
class Settings:
    """Options of simulators; each reads those that it knows, and documents them (docs/simulators.md)."""

    architecture: str | None = None
    """A name that the simulator knows, or a file."""
    python: str | None = None
    """The interpreter of the simulator's environment."""
    clock_mhz: float = 1000.0
    adc_bits: int | None = None
    laser_efficiency: float = 1e-3
    variable: tuple[str, ...] = ()
    """NAME=VALUE, of an architecture."""
    optimize: str = "edp"
    threads: int = 1
    runs: int = 100


@dataclass(frozen=True)
class Job:
    """One profile."""

    path: str
    """The model."""
    layers: tuple[LayerRow, ...]
    precisions: Mapping[str, Sequence[Precision]]
    """By node."""
    has_own: bool
    """The model is quantized or noisy, and these are its own."""
    settings: Settings
    partial: Path
    """Where results are kept until the table is written."""
    feeds: Mapping[str, np.ndarray]
    """Inputs of one example."""
    uniform: Callable[[int, int], Path]
    """(weight bits, activation bits) -> a file in which all have these widths."""


@dataclass(frozen=True)
class Findings:
    """What came out."""

    rows: tuple[CostRow, ...]
    made_by: str
    """For the first line of the table."""
    simulated: int
    """Points that were computed now."""
    reused: int
    """Points that an earlier, interrupted profile had computed."""
    notes: tuple[str, ...] = ()
    checks: tuple["FileCheck", ...] = ()


@dataclass(frozen=True)
class FileCheck:
    """A whole file: what its layers sum up to, and what it takes."""

    file: str
    predicted_ms: float
    measured_ms: float


class Profiler(Protocol):
    """What stands in registries.SIMULATORS."""

    resources: tuple[str, ...]
    """Columns of its tables."""

    def check(self, settings: Settings, energies: bool) -> None:
        """Raise UsageError, before any work, for what it has not: an architecture, energies, an installation."""

    def profile(self, job: Job) -> Findings:
        """Do it."""
