"""Profiles by simulators: every different layer at every precision once, in a worker process, whatever the tool."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpq_onnx.errors import ModelError, OutputError, UsageError
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.handoff_targets.loops import Loops, loops_of
from mpq_onnx.progress import counter
from mpq_onnx.simulators.environments import Environment, Installation, find
from mpq_onnx.simulators.job import Findings, Job, Precision, Settings
from mpq_onnx.simulators.partial_results import PartialResults
from mpq_onnx.simulators.worker import WORKERS, answers
from mpq_onnx.targets.cost_table import CostRow

FLOAT_BITS = 32
"""A float is a word of so many bits to simulators."""

Point = dict[str, Any]


@dataclass(frozen=True)
class SimulatedTool:
    """A Profiler whose layers a tool simulates in an environment of its own."""

    environment: Environment
    script: str
    """In workers/."""
    resources: tuple[str, ...]
    default_architecture: str
    architectures: tuple[str, ...]
    """Names that it knows."""
    file_kind: str
    """What an architecture file is, for errors."""
    energies: Callable[[str], bool]
    """Whether the hardware of an architecture (name or file) has an energy per MAC."""
    layer: Callable[[Loops, int | None, int | None], tuple[Any, int]]
    """(loops, weight bits, activation bits) -> a layer in the tool's own form, and how often it runs in an example."""
    options: Callable[[Settings], dict[str, Any]]
    """Those of the settings that its results depend on."""
    notes: Callable[[Settings], tuple[str, ...]]

    def check(self, settings: Settings, energies: bool) -> None:
        """Raise UsageError for an unknown architecture, energies that it has not, or a missing installation."""
        architecture = self._architecture(settings)
        if architecture not in self.architectures and not Path(architecture).is_file():
            raise UsageError(
                f"--architecture {architecture}: neither {self.file_kind} nor one of {', '.join(self.architectures)}"
            )
        if energies and not self.energies(architecture):
            raise UsageError(
                f"--energies: {self.environment.name} has no energy per MAC for {architecture}; leave it out, or take a"
                " compute-in-memory or photonic architecture of accelforge"
            )
        find(self.environment, settings.python)

    def profile(self, job: Job) -> Findings:
        """Simulate what is not known yet; see Profiler."""
        installation = find(self.environment, job.settings.python)
        architecture = self._architecture(job.settings)
        options = self.options(job.settings)
        task: dict[str, Any] = {
            "architecture": str(Path(architecture).resolve())
            if Path(architecture).is_file()
            else architecture,
            "options": options,
        }
        signature = self._signature(installation, architecture, task)
        wanted = {
            (row.name, row.weight, precision): self._points(row, precision, signature)
            for row in job.layers
            for precision in job.precisions[row.name]
        }
        with _opened(job.partial) as partial:
            points = {point["key"]: point for each in wanted.values() for _, point in each}
            missing = [point for key, point in points.items() if key not in partial.known]
            self._simulate(installation, task, missing, partial, len(points), _first_nodes(wanted))
            rows = tuple(_rows(job, wanted, partial.known, self.resources))
        made_by = f"{self.environment.distribution} {installation.version}, architecture {architecture}"
        more = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
        return Findings(
            rows,
            f"{made_by}, {more}" if more else made_by,
            simulated=len(missing),
            reused=len(points) - len(missing),
            notes=self.notes(job.settings),
        )

    def _architecture(self, settings: Settings) -> str:
        return settings.architecture or self.default_architecture

    def _signature(self, installation: Installation, architecture: str, task: Mapping[str, Any]) -> str:
        """Of all that results depend on beside layer and precision."""
        content = _architecture_content(Path(architecture)) or architecture.encode()
        worker = (WORKERS / self.script).read_bytes()
        known = [self.environment.name, installation.version, json.dumps(task["options"], sort_keys=True)]
        return hashlib.sha256(b"\0".join([*(each.encode() for each in known), content, worker])).hexdigest()

    def _points(self, row: LayerRow, precision: Precision, signature: str) -> list[tuple[float, Point]]:
        """What is to be simulated for a row: whole widths on both sides of a fractional one, with the share of each."""
        loops = loops_of(row)
        return [
            (weight_share * share, self._point(loops, weight_bits, bits, precision.energy_per_mac, signature))
            for weight_share, weight_bits in _whole(precision.weight_bits)
            for share, bits in _whole(precision.activation_bits)
        ]

    def _point(
        self, loops: Loops, weight_bits: int | None, bits: int | None, energy: float | None, signature: str
    ) -> Point:
        layer, times = self.layer(loops, weight_bits, bits)
        point: Point = {
            "layer": layer,
            "times": times,
            "fan_in": loops.fan_in,
            "weight_bits": weight_bits,
            "activation_bits": bits,
            "energy_per_mac": energy,
        }
        key = hashlib.sha256((signature + json.dumps(point, sort_keys=True)).encode()).hexdigest()
        return {**point, "key": key}

    def _simulate(
        self,
        installation: Installation,
        task: dict[str, Any],
        missing: Sequence[Point],
        partial: PartialResults,
        total: int,
        nodes: Mapping[str, str],
    ) -> None:
        done = total - len(missing)
        with counter(f"simulating with {self.environment.name}", total, "layer", done) as bar:
            bar.update(0)
            if not missing:
                return
            left = {point["key"] for point in missing}
            for answer in answers(installation, self.script, task, missing):
                if "error" in answer:
                    raise ModelError(
                        f"{self.environment.name} cannot take {nodes.get(answer['key'], 'a layer')}: {answer['error']};"
                        " choose other widths or another architecture, or write these rows by hand (docs/simulators.md)"
                    )
                partial.add({name: answer[name] for name in ("key", *self.resources)})
                left.discard(answer["key"])
                bar.update(1)
            if left:
                raise ModelError(
                    f"{self.environment.name} left {len(left)} layers without an answer; run it again"
                )


def _architecture_content(path: Path) -> bytes:
    """Of a file, and of what may belong to it: files beside it whose names begin with its own or with an underscore."""
    if not path.is_file():
        return b""
    beside = [
        each for each in path.parent.iterdir() if each.is_file() and each.name.startswith((path.stem, "_"))
    ]
    return b"\0".join(each.name.encode() + b"\0" + each.read_bytes() for each in sorted({path, *beside}))


def _opened(path: Path) -> PartialResults:
    try:
        return PartialResults(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error


def _whole(bits: float | None) -> Sequence[tuple[float, int | None]]:
    if bits is None:
        return [(1.0, None)]
    if math.isinf(bits):
        return [(1.0, FLOAT_BITS)]
    low = max(math.floor(bits), 1)
    share = max(bits - low, 0.0)
    return [(1.0 - share, low)] + ([(share, low + 1)] if share else [])


def _first_nodes(wanted: Mapping[tuple[str, str, Precision], list[tuple[float, Point]]]) -> dict[str, str]:
    """For errors: a node and a precision that need a point."""
    found: dict[str, str] = {}
    for (name, _, precision), points in wanted.items():
        for _, point in points:
            found.setdefault(point["key"], f"node {name} at {precision}")
    return found


def _rows(
    job: Job,
    wanted: Mapping[tuple[str, str, Precision], list[tuple[float, Point]]],
    known: Mapping[str, Mapping[str, float]],
    resources: Sequence[str],
) -> Iterator[CostRow]:
    """A row a node and precision; the two products of a recurrent layer are summed up."""
    weights: dict[str, list[str]] = {}
    for row in job.layers:
        weights.setdefault(row.name, []).append(row.weight)
    for node, held in weights.items():
        for precision in job.precisions[node]:
            parts = [part for weight in held for part in wanted[node, weight, precision]]
            amounts = {
                name: sum(share * float(known[point["key"]][name]) for share, point in parts)
                for name in resources
            }
            yield CostRow(
                node, precision.weight_bits, precision.activation_bits, precision.energy_per_mac, amounts
            )
