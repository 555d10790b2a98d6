"""Thousands of broken ONNX files and documents through the commands: each must end well or in one line, and lose nothing.

python benchmarks/fuzz.py                 # 20,000 inputs, two processes, about half an hour on two cores
python benchmarks/fuzz.py --only 1234     # one input again, with its traceback

Checked for every input: an error is one of the package's own; less than 10 CPU s; less than 2 GB of memory; what stood at the
output before is whole or replaced by a file that loads; the input is as it was; no temporary file is left.
"""

import argparse
import collections
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import random
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

LONGEST_SECONDS = 10
"""Of the processor: others may use the machine."""
HANGING_SECONDS = 120
"""Of the clock."""
LARGEST_BYTES = 2_000_000_000
OUTPUT = Path(__file__).parent / "output" / "fuzz"
KEPT = b"what stood here before"
STARTING_SECONDS = 120
SOURCES = (
    "cnn_source",
    "encoder_source",
    "cnn",
    "int8",
    "packed",
    "dynamic",
    "noisy",
    "recurrent",
    "shared",
    "branching",
    "left",
)
"""The models that are broken."""


def seeds(folder: Path) -> None:
    """Whole files to break: float, quantized in both storages, dynamic ranges, noisy, a transformer, recurrent, with
    shared weights, branches and a weight on the left; and their documents."""
    import numpy as np
    import onnx
    from conftest import make_cnn, make_encoder
    from test_mac_operators import CASES, shared_head
    from test_recurrent import batch_first_layer
    from test_uncounted import branching

    import mpq_onnx

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    others = {
        "recurrent": batch_first_layer("LSTM"),
        "shared": shared_head(),
        "branching": branching(),
        "left": CASES["matmul on the left"][0],
    }
    for name, model in others.items():
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / f"{name}.onnx")
    for name, model in (("cnn", make_cnn()), ("encoder", make_encoder())):
        onnx.save(model, folder / f"{name}_source.onnx")
        mpq_onnx.export(str(folder / f"{name}_source.onnx"), folder / f"{name}.onnx")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "images.npz",
        images=rng.standard_normal((16, 3, 12, 12)).astype(np.float32),
        labels=rng.integers(0, 6, 16),
    )
    data = f"npz:{folder / 'images.npz'}"
    for name, options in (
        ("int8", {}),
        ("packed", {"storage": "packed", "granularity": "channel"}),
        ("dynamic", {"activation_ranges": "dynamic"}),
    ):
        fast = mpq_onnx.AllocateOptions(
            method="uniform", rounding="nearest", bias_correction=False, **options
        )
        mpq_onnx.allocate(
            folder / "cnn.onnx",
            data,
            folder / name,
            weight_bits=4,
            activation_bits=6,
            options=fast,
            overwrite=True,
        )
        (folder / name / "model.onnx").replace(folder / f"{name}.onnx")
    energies = mpq_onnx.EnergyOptions(("shot",), method="uniform")
    mpq_onnx.allocate_energy(
        folder / "cnn.onnx", data, folder / "energy", energy_per_mac=5, options=energies, overwrite=True
    )
    (folder / "energy" / "model.onnx").replace(folder / "noisy.onnx")


def attempt(number: int, folder: Path, place: Path) -> str:
    """Break one file and give it to one command; returns how it ended.

    Raises:
        AssertionError: something that must hold did not.
        Exception: an error that is not the package's own.
    """
    from mutations import mutated_bytes, mutated_document, mutated_model

    import mpq_onnx

    rng = random.Random(number)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    output = place / "out.onnx"
    kind = rng.choices(
        ["model", "allocation", "calibration", "energy", "npz", "config"], [60, 15, 8, 8, 5, 4]
    )[0]
    actions: dict[str, Callable[[], object]]
    if kind == "model":
        source = folder / f"{rng.choice(SOURCES)}.onnx"
        broken = place / "broken.onnx"
        broken.write_bytes(mutated_model(source.read_bytes(), rng))
        actions = {
            "export": lambda: mpq_onnx.export(str(broken), output),
            "card": lambda: mpq_onnx.card(broken),
            "evaluate": lambda: mpq_onnx.evaluate(broken, "random?count=2&size=6"),
            "handoff": lambda: mpq_onnx.handoff(
                broken,
                place / "handoff",
                to=rng.choice(["json", "qonnx", "zigzag", "timeloop", "ort"]),
                overwrite=True,
            ),
        }
    elif kind in ("npz", "config"):
        name = "images.npz" if kind == "npz" else "int8/config.yaml"
        broken = place / Path(name).name
        broken.write_bytes(mutated_bytes((folder / name).read_bytes(), rng))
        from mpq_onnx.runs.configuration import read_configuration

        actions = (
            {
                "evaluate": lambda: mpq_onnx.evaluate(folder / "cnn.onnx", f"npz:{broken}"),
            }
            if kind == "npz"
            else {"config": lambda: read_configuration(broken)}
        )
    else:
        name = {
            "allocation": "int8/allocation.json",
            "calibration": "int8/calibration.json",
            "energy": "energy/energy.json",
        }[kind]
        broken = place / Path(name).name
        broken.write_text(
            mutated_document((folder / name).read_text(), rng), encoding="utf-8", errors="replace"
        )
        given = folder / "int8/allocation.json" if kind == "calibration" else broken
        calibration = broken if kind == "calibration" else folder / "int8/calibration.json"
        actions = {
            "apply": lambda: (
                mpq_onnx.apply_energy(folder / "cnn.onnx", broken, output, data="random?count=2")
                if kind == "energy"
                else mpq_onnx.apply(folder / "cnn.onnx", given, output, calibration=calibration)
            )
        }
    verb = rng.choice(sorted(actions))
    output.write_bytes(KEPT)
    before = hashlib.sha256(broken.read_bytes()).digest()
    try:
        actions[verb]()
        ending = "fine"
    except mpq_onnx.MpqOnnxError as error:
        assert str(error).strip(), "an error without words"
        ending = "refused"
    assert hashlib.sha256(broken.read_bytes()).digest() == before, "the input was changed"
    if output.read_bytes() != KEPT:
        from mpq_onnx.graph.model_file import load_model

        assert ending == "fine", "a refused command replaced the output"
        load_model(output)
    left = [path.name for path in place.iterdir() if path.name.startswith(".")]
    assert not left, f"left behind: {left}"
    return f"{kind} {verb}: {ending}"


def work(folder: Path, place: Path, pipe: "multiprocessing.connection.Connection") -> None:
    """A worker process: numbers come in, (ending, error or None, CPU seconds, largest memory) go out."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    import mpq_onnx.runs.allocating
    import mpq_onnx.runs.exporting  # noqa: F401

    pipe.send("ready")
    while True:
        number = pipe.recv()
        failure, started = None, time.process_time()
        try:
            ending = attempt(number, folder, place)
        except Exception:
            ending, failure = "failed", traceback.format_exc()
        seconds = time.process_time() - started
        pipe.send((ending, failure, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


class Worker:
    """One process with its own scratch folder; replaced when it hangs, dies or has grown."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder, self.place = folder, place
        self.start()

    def start(self) -> None:
        self.pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=work, args=(self.folder, self.place, other), daemon=True)
        self.process.start()
        other.close()
        assert self.pipe.poll(STARTING_SECONDS) and self.pipe.recv() == "ready"
        self.number: int | None = None
        self.since = 0.0

    def give(self, number: int) -> None:
        self.number, self.since = number, time.monotonic()
        self.pipe.send(number)

    def restart(self) -> None:
        self.process.kill()
        self.process.join()
        self.start()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="run this input alone, here")
    arguments = parser.parse_args()
    folder = OUTPUT / "seeds"
    if arguments.only is not None:
        print(attempt(arguments.only, folder, OUTPUT / "only"))
        return
    seeds(folder)
    endings: collections.Counter[str] = collections.Counter()
    failures: list[tuple[int, str]] = []
    slowest, largest = 0.0, 0
    numbers = iter(range(arguments.first, arguments.first + arguments.inputs))
    workers = [Worker(folder, OUTPUT / f"worker{index}") for index in range(arguments.jobs)]
    busy = {
        worker
        for worker in workers
        if (number := next(numbers, None)) is not None and worker.give(number) is None
    }
    started = time.monotonic()
    while busy:
        for worker in list(busy):
            assert worker.number is not None
            waited = time.monotonic() - worker.since
            if worker.pipe.poll(0.002):
                try:
                    ending, failure, seconds, memory = worker.pipe.recv()
                except EOFError:
                    ending, failure, seconds, memory = "failed", "the process died", 0.0, 0
                slowest, largest = max(slowest, seconds), max(largest, memory)
                endings[ending] += 1
                if failure is None and memory > LARGEST_BYTES:
                    failure = f"{memory:,} bytes of memory"
                if failure is None and seconds > LONGEST_SECONDS:
                    failure = f"{seconds:.1f} CPU s"
                if failure is not None:
                    failures.append((worker.number, failure))
                    print(f"input {worker.number}: {failure.strip().splitlines()[-1]}", flush=True)
                if memory > LARGEST_BYTES or failure == "the process died":
                    worker.restart()
            elif waited > HANGING_SECONDS:
                failures.append((worker.number, f"hangs: over {HANGING_SECONDS} s"))
                endings["failed"] += 1
                print(f"input {worker.number}: hangs", flush=True)
                worker.restart()
            else:
                continue
            number = next(numbers, None)
            if number is None:
                busy.discard(worker)
            else:
                worker.give(number)
    for ending, count in sorted(endings.items()):
        print(f"{ending:30} {count}")
    print(
        f"{sum(endings.values())} inputs in {time.monotonic() - started:.0f} s; slowest {slowest:.1f} CPU s; most memory"
        f" {largest / 1e6:.0f} MB; {len(failures)} failures"
    )
    for number, failure in failures:
        print(f"\ninput {number}\n{failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
