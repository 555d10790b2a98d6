"""onnxruntime on this machine: the time of every kernel of whole files, and of the files themselves.

What is timed are files as they are stored: float, and weights of 7 bits (int8, which stands for all narrower ones) and of 8
(uint8, slower kernels on x86) with activations of 8 or 16 bits. A layer's time is the tenth percentile over many runs of the
kernel that does it, activation and requantization included where onnxruntime fuses them. All other kernels are one row without
widths, that of one of the files; what they take more or less in another is spread over its layers, in proportion.
"""

import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime

from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.progress import watched
from mpq_onnx.runtime.session import Runner
from mpq_onnx.simulators.job import LATENCY, FileCheck, Findings, Job, Precision, Settings
from mpq_onnx.targets.cost_table import CostRow

WARM_UP = 10
"""Runs before any is counted."""
KERNEL = "_kernel_time"
BLOCKED = "_nchwc"
PASSES = 10
QUIET = 0.1
"""Quantile of the times of many runs: others on the machine make runs longer, never shorter."""
MAC_KERNELS = ("Conv", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN")
"""Parts of the operator names of kernels that do multiply-accumulates, fused and integer ones as well."""
REST = "(other nodes)"
FLOAT, OWN = "float", "own"
KINDS = {f"W{weights}A{inputs}": (weights, inputs) for inputs in (8, 16) for weights in (7, 8)}
"""Widths of the files that are timed."""
NARROW, BYTE = 7, 8
"""Bits up to which weights, and activations, run in the kernels of the narrower file."""
FLOAT_PRECISION = Precision(math.inf, math.inf)


@dataclass(frozen=True)
class FileTimes:
    """In milliseconds, for one example."""

    layers: dict[str, float]
    """By node."""
    rest: float
    whole: float
    """The file, measured without looking at kernels, and not used for the others."""


class OnnxruntimeProfiler:
    """A Profiler that runs files; see the module."""

    resources = (LATENCY,)

    def check(self, settings: Settings, energies: bool) -> None:
        """Raise UsageError for what it has not."""
        if energies:
            raise UsageError("--energies: onnxruntime has no energy per MAC; leave it out")
        if settings.architecture is not None:
            raise UsageError("--architecture: onnxruntime is measured on this machine; leave it out")

    def profile(self, job: Job) -> Findings:
        """Time the files that the job's precisions need."""
        kinds = sorted({_kind(each) for found in job.precisions.values() for each in found} | {FLOAT})
        nodes = list(job.precisions)
        if job.has_own:
            files = {OWN: Path(job.path)}
        else:
            files = {kind: Path(job.path) if kind == FLOAT else job.uniform(*KINDS[kind]) for kind in kinds}
        with tempfile.TemporaryDirectory(prefix="mpq-onnx-") as folder:
            times = {
                kind: file_times(path, nodes, job, Path(folder) / kind)
                for kind, path in watched(files.items(), "timing", len(files), "file")
            }
        rest = next((times[kind] for kind in KINDS if kind in times), times[min(times)]).rest
        spread = {kind: _spread(each, rest) for kind, each in times.items()}
        rows = [*_rows(job, spread), CostRow(REST, None, None, None, {LATENCY: rest})]
        names = {**{kind: kind for kind in KINDS}, FLOAT: Path(job.path).name, OWN: Path(job.path).name}
        return Findings(
            tuple(rows),
            f"onnxruntime {onnxruntime.__version__}, threads {job.settings.threads}, runs {job.settings.runs}",
            simulated=len(files),
            reused=0,
            notes=_notes(times, names),
            checks=tuple(
                FileCheck(
                    Path(job.path).name if job.has_own else names[kind],
                    sum(each.layers.values()) + each.rest,
                    each.whole,
                )
                for kind, each in times.items()
            ),
        )


def _kind(precision: Precision) -> str:
    """Of the file in which a layer of this precision is timed."""
    weights, inputs = precision.weight_bits, precision.activation_bits
    if inputs is None or math.isinf(inputs):
        return FLOAT
    wide = weights is None or weights > NARROW
    return f"W{8 if wide else 7}A{8 if inputs <= BYTE else 16}"


def file_times(path: Path, nodes: Sequence[str], job: Job, traces: Path) -> FileTimes:
    """Run a file and read the times of its kernels.

    Looking at a kernel takes time as well, a few microseconds each: as much is taken off every kernel as makes their sum the
    time of the whole file in every second run. The other runs are the check.

    Runs with and without a look at the kernels take turns, so that a machine that is busy for a while disturbs both alike.
    """
    threads, runs = job.settings.threads, job.settings.runs
    model = load_model(path)  # its nodes have names, which kernels carry
    plain = Runner(model, "cpu", where=str(path), threads=threads)
    traced = Runner(model, "cpu", where=str(path), threads=threads, kernel_times=str(traces))
    feeds = {name: array for name, array in job.feeds.items() if name in plain.inputs}
    whole = []
    for turn in range(WARM_UP + runs):
        traced.run(feeds)
        plain.run(feeds)
        start = time.perf_counter()
        plain.run(feeds)
        if turn >= WARM_UP:
            whole.append(1e3 * (time.perf_counter() - start))
    kernels = _kernel_times(Path(traced.session.end_profiling()))
    aliases = _layers_by_tensor(model, nodes)
    layers = dict.fromkeys(nodes, 0.0)
    calibrated = _quiet(whole[::2])
    kernels = _without_looking(kernels, calibrated)
    # What lies between kernels is nobody's.
    rest = max(calibrated - sum(kernels.values()), 0.0)
    for (name, operator), took in kernels.items():
        node = _node_of(name, operator, nodes, aliases)
        if node is None:
            rest += took
        else:
            layers[node] += took
    if not any(layers.values()):
        raise ModelError(
            f"{path}: no kernel that onnxruntime ran carries the name of a layer; export the model again"
        )
    return FileTimes(layers, rest, _quiet(whole[1::2]))


def _without_looking(kernels: Mapping[tuple[str, str], float], whole: float) -> dict[tuple[str, str], float]:
    """The kernels' times, as much less for each as makes their sum `whole`; none below half of what was read."""
    surplus = max(sum(kernels.values()) - whole, 0.0)
    left = dict(kernels)
    for _ in range(PASSES):  # what the shortest cannot give is asked of the others
        able = [key for key, took in left.items() if took > kernels[key] / 2]
        over = min(surplus, sum(left.values()) - whole)
        if over <= 0 or not able:
            break
        for key in able:
            left[key] = max(left[key] - over / len(able), kernels[key] / 2)
    return left


def _kernel_times(trace: Path) -> dict[tuple[str, str], float]:
    """In milliseconds, by name and operator."""
    events = json.loads(trace.read_text(encoding="utf-8"))
    trace.unlink()
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(KERNEL):
            operator = str(event.get("args", {}).get("op_name", ""))
            durations[name.removesuffix(KERNEL), operator].append(event["dur"] / 1e3)
    return {key: _quiet(each[min(WARM_UP, len(each) - 1) :]) for key, each in durations.items()}


def _layers_by_tensor(model: ir.Model, nodes: Sequence[str]) -> dict[str, str]:
    """The layer that each tensor comes from, through what onnxruntime may fuse to it (the first input of every node)."""
    known = set(nodes)
    found: dict[str, str] = {}
    for node in model.graph:
        source = node.inputs[0] if node.inputs else None
        layer = (
            str(node.name)
            if node.name in known
            else found.get(str(source.name))
            if source is not None
            else None
        )
        if layer is not None:
            found.update({str(value.name): layer for value in node.outputs})
    return found


def _quiet(times: Sequence[float]) -> float:
    """What it takes while nothing else runs."""
    return float(np.quantile(times, QUIET))


def _node_of(
    kernel: str, operator: str, nodes: Sequence[str], aliases: Mapping[str, str] | None = None
) -> str | None:
    """The layer that a kernel does: fused kernels carry its name with something before or behind it, and those that work
    on blocks of channels the name of the tensor that they write."""
    if not any(each in operator for each in MAC_KERNELS):
        return None
    if kernel in nodes:
        return kernel
    if kernel.endswith(BLOCKED) and aliases is not None:
        written = aliases.get(kernel.removesuffix(BLOCKED))
        if written is not None:
            return written
    inside = [node for node in nodes if node in kernel]
    return max(inside, key=len) if inside else None


def _spread(times: FileTimes, rest: float) -> Mapping[str, float]:
    """Layers of a file whose other kernels take another time than `rest`, which the table says of them."""
    total = sum(times.layers.values())
    factor = max((total + times.rest - rest) / total, 0.0)
    return {node: took * factor for node, took in times.layers.items()}


def _rows(job: Job, times: Mapping[str, Mapping[str, float]]) -> list[CostRow]:
    rows = []
    for node, precisions in job.precisions.items():
        if not job.has_own:
            rows.append(CostRow(node, math.inf, math.inf, None, {LATENCY: times[FLOAT][node]}))
        for each in precisions:
            kind = OWN if job.has_own else _kind(each)
            if job.has_own or kind != FLOAT:
                rows.append(
                    CostRow(node, each.weight_bits, each.activation_bits, None, {LATENCY: times[kind][node]})
                )
    return rows


def _notes(times: Mapping[str, FileTimes], names: Mapping[str, str]) -> tuple[str, ...]:
    found = []
    for kind, each in times.items():
        lost = [node for node, took in each.layers.items() if not took]
        if lost:
            found.append(
                f"{names[kind]}: no kernel has the name of {', '.join(lost)}; their time is with the other nodes"
            )
    return tuple(found)


ONNXRUNTIME = OnnxruntimeProfiler()
