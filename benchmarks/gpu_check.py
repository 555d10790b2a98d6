"""Every stage that torch computes, on a GPU against the CPU; then how long allocate takes for ResNet-50 and BERT-base there.

    python benchmarks/gpu_check.py                        # CUDA against the CPU, at most 8 minutes
    python benchmarks/gpu_check.py --device cpu --small   # the script itself, where there is no GPU: minutes, all differences 0

On a bare machine with a GPU, Python 3.10 or later and pip, from a checkout (about 5 minutes, most of them downloads):

    python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python benchmarks/gpu_check.py

Where nothing can be fetched, what is there will do: torch, torchvision, onnx, onnx_ir, onnxscript, onnxruntime (with or without
its CUDA provider) with what they need, scipy, Pillow, PyYAML, tqdm, tabulate and attrs. Wheels of annotated-types,
typing-inspection, pydantic, pydantic-core, jsonschema, jsonschema-specifications, referencing and rpds-py (4 MB; pydantic-core
and rpds-py are compiled) can be brought along: whole allocations read back what they wrote, and check it.

    pip install --no-deps *.whl; PYTHONPATH=. python3 benchmarks/gpu_check.py

Networks with random weights and data of their own; nothing is downloaded, and no shared data is read. A stage agrees where the
largest difference, relative to the largest value, is within its tolerance (gpu_stages.STAGES says which, and why not all are
zero). The exit code is 1 where a stage disagrees or fails. Networks so small tell nothing of a GPU's speed. The time of
allocate on the large ones has a budget beside it; more is no disagreement. At the time limit the table is printed as far as it
goes, and what is missing is named.
"""

import argparse
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from gpu_networks import BERT_BASE, SIDE, SMALL_TRANSFORMER, small_cnn, transformer
from gpu_stages import EXAMPLES, STAGES, Arrays, Network, Stage, Subject, largest_difference
from tabulate import tabulate

from mpq_onnx import AllocateOptions, allocate, export
from mpq_onnx.errors import MpqOnnxError
from mpq_onnx.progress import stage_lines
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration

MINUTES = 8.0
TIMED_EXAMPLES = 256
BUDGETS = {"ResNet-50": 150.0, "BERT-base": 150.0}
"""Seconds of allocate at W4A8, of a GPU and a dozen cores."""
AGREES, DISAGREES, FAILS = "agrees", "DISAGREES", "FAILS"
HEADERS = ("stage", "network", "CPU s", "{} s", "largest difference", "tolerance", "verdict")


@dataclass
class Table:
    """What was found so far."""

    other: str
    """The device that is compared with the CPU."""
    rows: list[tuple[object, ...]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """What has not ended yet, in order."""

    def add(self, *row: object) -> None:
        """A line, shown at once on stderr too."""
        self.rows.append(row)
        print(" | ".join(map(str, row)), file=sys.stderr, flush=True)

    def show(self) -> int:
        """Print it; returns the exit code."""
        headers = [each.format(self.other) for each in HEADERS]
        print(tabulate(self.rows, headers, tablefmt="github", disable_numparse=True))
        if self.waiting:
            print(f"cut short: {', '.join(self.waiting)}")
        return int(any(row[-1] in (DISAGREES, FAILS) for row in self.rows))


def networks(folder: Path) -> dict[str, Network]:
    """The small networks with random data, calibrated on the CPU, by name."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, SMALL_TRANSFORMER.vocabulary, (EXAMPLES, SMALL_TRANSFORMER.tokens))
    images = generator.standard_normal((EXAMPLES, 3, SIDE, SIDE)).astype(np.float32)
    return {
        "CNN": _network(folder, "cnn", small_cnn(), {"images": images}),
        "transformer": _network(folder, "transformer", transformer(SMALL_TRANSFORMER), {"tokens": tokens}),
    }


def _network(folder: Path, name: str, model: onnx.ModelProto, data: dict[str, np.ndarray]) -> Network:
    source, path, arrays = folder / f"{name}-source.onnx", folder / f"{name}.onnx", folder / f"{name}.npz"
    onnx.save(model, source)
    np.savez(arrays, **data)
    export(source, path)
    loaded = load_float_model(str(path))
    spec = f"npz:{arrays}"
    calibration = measure_calibration(loaded, loaded.open_data(spec), CalibrationRules(), "cpu")
    return Network(loaded, spec, calibration)


def compare(stage: Stage, name: str, subjects: tuple[Subject, Subject], table: Table) -> None:
    """One line: the stage on the CPU and on the other device; a failure of either is a line too."""
    try:
        (exact, exact_seconds), (found, seconds) = (_timed(stage, each) for each in subjects)
    except (MpqOnnxError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines()
        table.add(stage.name, name, "", "", lines[0] if lines else type(error).__name__, "", FAILS)
        return
    apart = largest_difference(exact, found)
    verdict = AGREES if apart <= stage.tolerance else DISAGREES
    shown = (f"{exact_seconds:.2f}", f"{seconds:.2f}", f"{apart:.2g}", f"{stage.tolerance:g}")
    table.add(stage.name, name, *shown, verdict)


def _timed(stage: Stage, subject: Subject) -> tuple[Arrays, float]:
    """What a stage gives, and its seconds; what it gives lies on the CPU, so that the device is done."""
    start = time.perf_counter()
    found = stage.measure(subject)
    return found, time.perf_counter() - start


def compare_all(device: str, folder: Path, table: Table, stages: Sequence[Stage] = STAGES) -> None:
    """Every stage of every small network."""
    small = networks(folder)
    table.waiting[:0] = [f"{stage.name} ({name})" for name in small for stage in stages]
    for name, network in small.items():
        places = (folder / name / "cpu", folder / name / "other")
        for place in places:
            place.mkdir(parents=True)
        subjects = Subject(network, "cpu", places[0]), Subject(network, device, places[1])
        for stage in stages:
            compare(stage, name, subjects, table)
            table.waiting.pop(0)


def resnet50(folder: Path) -> tuple[Path, str]:
    """(float file, data spec) of torchvision's ResNet-50 with random weights, 224 x 224 pixels."""
    path = folder / "resnet50.onnx"
    export("torchvision:resnet50", path)
    return path, f"random?count={TIMED_EXAMPLES}"


def bert_base(folder: Path) -> tuple[Path, str]:
    """The same of a network of BERT-base's shapes, built here, 128 tokens."""
    source, path, arrays = folder / "bert-source.onnx", folder / "bert.onnx", folder / "bert.npz"
    onnx.save(transformer(BERT_BASE), source)
    generator = np.random.default_rng(0)
    np.savez(arrays, tokens=generator.integers(0, BERT_BASE.vocabulary, (TIMED_EXAMPLES, BERT_BASE.tokens)))
    export(source, path)
    return path, f"npz:{arrays}"


def time_allocate(name: str, made: Callable[[Path], tuple[Path, str]], folder: Path, table: Table) -> None:
    """One line: the default allocate at W4A8 on the other device, and the GPU memory it took."""
    budget = BUDGETS[name]
    try:
        path, data = made(folder)
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        options = AllocateOptions(device=table.other.lower())
        allocate(path, data, folder / f"{name}-out", weight_bits=4, activation_bits=8, options=options)
        seconds = time.perf_counter() - start
    except (MpqOnnxError, RuntimeError) as error:
        traceback.print_exc()
        table.add("allocate, default", name, "", "", str(error).strip().splitlines()[0], "", FAILS)
        return
    memory = f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB of GPU memory"
    verdict = "within its time" if seconds <= budget else "slower than wanted"
    table.add("allocate, default", name, "", f"{seconds:.0f}", memory, f"{budget:g} s", verdict)
    gc.collect()
    torch.cuda.empty_cache()


def stop_at_the_limit(minutes: float, folder: Path, table: Table) -> threading.Timer:
    """A timer that ends the process, whatever it is at, with the table as far as it goes."""

    def stop() -> None:
        print(f"stopped after {minutes:g} minutes", flush=True)
        code = table.show()
        sys.stdout.flush()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)

    timer = threading.Timer(60 * minutes, stop)
    timer.daemon = True
    timer.start()
    return timer


def machine(device: str) -> str:
    """One line that says where this ran."""
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU alone"
    providers = ", ".join(onnxruntime.get_available_providers())
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__} ({providers})"
    return f"{where}, {os.cpu_count()} cores, {versions}"


def main(arguments: list[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="what the CPU is compared with"
    )
    parser.add_argument("--small", action="store_true", help="no timing of large networks")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of all")
    given: Any = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device here; --device cpu --small tries the script", file=sys.stderr)
        return 2
    print(machine(given.device), flush=True)
    table = Table("CUDA" if given.device == "cuda" else "CPU")
    timed = {} if given.small or given.device == "cpu" else {"ResNet-50": resnet50, "BERT-base": bert_base}
    table.waiting += [f"time of {name}" for name in timed]
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as work, stage_lines():
        folder = Path(work)
        timer = stop_at_the_limit(given.minutes, folder, table)
        compare_all(given.device, folder, table)
        for name, made in timed.items():
            time_allocate(name, made, folder, table)
            table.waiting.pop(0)
        timer.cancel()
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
