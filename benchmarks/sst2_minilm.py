"""A real transformer: all-MiniLM-L6-v2 with a sentiment head on SST-2; accuracy by bits, and energy per MAC under shot noise.

The network is made by examples/sentiment_minilm.py (which says what to install). Train sentences only are used to calibrate,
allocate and choose; dev sentences for every figure. All MatMuls are noisy, those of attention too.

    python benchmarks/sst2_minilm.py            # about an hour on two cores
    python benchmarks/sst2_minilm.py --show
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kept import Kept, measure_and_show
from shared_data import data_folder, require
from tabulate import tabulate

import mpq_onnx

DATA = data_folder("MPQ_ONNX_SST2", "sst2")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
OUTPUT = Path(__file__).resolve().parent / "output" / "sst2"
TRAIN, TEST = f"text:{DATA / 'train.tsv'}?count=1024", f"text:{DATA / 'dev.tsv'}"
STEPS = 60
REPEATS = 3
POINTS_LOST = 0.02
TOLERANCE = 0.06


@dataclass(frozen=True)
class Work:
    """One allocation of mean weight bits, or a search for the energy per MAC that loses POINTS_LOST (budget None)."""

    kind: str
    budget: float | None
    method: str
    granularity: str


WORKS = (
    Work("bits", 8.0, "water-filling", "layer"),
    Work("shot", None, "uniform", "layer"),
    Work("shot", None, "closed-form", "layer"),
    Work("bits", 4.0, "refined", "layer"),
    Work("shot", None, "closed-form", "channel"),
    Work("shot", None, "refined", "channel"),
)
UNIFORM = WORKS[1]
ACTIVATION_CHOICES = (4, 6, 7, 8, 9, 10, 12, 14, 16)
"""The residual sums of a BERT have outliers that 8 bits cannot hold; the mean stays 8."""
SEARCHED = (0.5, 500.0)
"""Photons per MAC."""


def float_file() -> Path:
    path = OUTPUT / "float.onnx"
    if not path.is_file():
        require(DATA, "SST-2")
        subprocess.run([sys.executable, EXAMPLES / "sentiment_minilm.py", DATA, OUTPUT], check=True)
    return path


def accuracy(path: Path) -> float:
    return mpq_onnx.evaluate(path, TEST).evaluation.metrics["accuracy"].value


def measure(work: Work, kept: Kept) -> list[dict]:
    folder = OUTPUT / f"{work.kind}-{work.budget}-{work.method}-{work.granularity}"
    exact = accuracy(float_file())
    if work.kind == "bits":
        options = mpq_onnx.AllocateOptions(
            method=work.method,
            granularity=work.granularity,
            steps=STEPS,
            activation_bit_choices=ACTIVATION_CHOICES,
            rounding="nearest" if work.budget == 8 else "adaptive",
        )
        result = mpq_onnx.allocate(
            float_file(),
            TRAIN,
            folder,
            weight_bits=work.budget,
            activation_bits=8,
            options=options,
            keep_candidates=True,
            overwrite=True,
        )
        return [
            {
                "candidate": candidate.name,
                "float": exact,
                "accuracy": accuracy(folder / "candidates" / f"{candidate.name}.onnx"),
                "spent": candidate.allocation.mean_weight_bits,
                "kept": candidate.name == result.chosen.name,
            }
            for candidate in result.candidates
        ]
    energy_options = mpq_onnx.EnergyOptions(
        (work.kind,), method=work.method, granularity=work.granularity, repeats=REPEATS, steps=STEPS
    )
    found = mpq_onnx.search_energy(
        float_file(),
        TRAIN,
        TEST,
        folder,
        goals=(mpq_onnx.Goal("accuracy", exact - POINTS_LOST),),
        interval=mpq_onnx.Interval(*ends(work, kept), TOLERANCE),
        options=energy_options,
    )
    assert found.best is not None, f"{work}: the goal is out of the interval"
    return [
        {
            "candidate": work.method,
            "float": exact,
            "accuracy": found.best.metrics["accuracy"],
            "spent": found.best.budget,
            "kept": True,
        }
    ]


def ends(work: Work, kept: Kept) -> tuple[float, float]:
    """Where to search: below uniform for what is allocated, around the closed form for what refines it."""
    if work.method == "uniform":
        return SEARCHED
    if work.method == "refined":
        (closed,) = kept.by_work[Work(work.kind, None, "closed-form", work.granularity)]
        return closed["spent"] * 0.8, closed["spent"] * 1.05
    (uniform,) = kept.by_work[UNIFORM]
    return uniform["spent"] / 8, uniform["spent"]


def show(kept: Kept) -> None:
    """Print the table."""
    rows = []
    uniform = kept.line(UNIFORM)
    for work in WORKS:
        for line in kept.by_work.get(work, []):
            what = (
                f"W{work.budget:g} A8"
                if work.kind == "bits"
                else f"{work.kind} noise, {100 * POINTS_LOST:g} points lost"
            )
            spent = f"{line['spent']:.4g}"
            if work.kind != "bits" and uniform is not None and work != UNIFORM:
                spent += f" (-{100 * (1 - line['spent'] / uniform['spent']):.0f} %)"
            rows.append(
                [
                    what,
                    f"{line['candidate']}, by {work.granularity}{' *' if line['kept'] else ''}",
                    spent,
                    f"{100 * line['accuracy']:.2f}",
                    f"{100 * line['float']:.2f}",
                ]
            )
    headers = ["", "method", "mean weight bits, or photons per MAC", "accuracy", "float"]
    print(tabulate(rows, headers, disable_numparse=True, tablefmt="pipe"))
    print("* is what is kept, chosen on held-out train sentences")


def main() -> None:
    kept = Kept(OUTPUT / "table.jsonl", Work)
    measure_and_show(__doc__, kept, WORKS, lambda work: measure(work, kept), show)


if __name__ == "__main__":
    main()
