"""What each choice that papers leave unsaid is worth on ResNet-20, beside what the method is worth; three seeds each.

Every row is an allocation of mean 4 bits for weights and activations by the closed form, rounding to nearest, calibrated on
1024 train images drawn by the seed, measured on the test images; it differs from the first row in what it names alone.

    python benchmarks/confounds.py              # about an hour on two cores
    python benchmarks/confounds.py --show       # the table of what is there
"""

import argparse
import itertools
import json

import numpy as np
from resnet20 import FILES, OUTPUT, TEST, TRAIN, exported
from tabulate import tabulate

import mpq_onnx

FOLDER = OUTPUT / "confounds"
BASE = {
    "data": TRAIN, "validation": f"{TRAIN}?count=512", "test": TEST, "rounding": "nearest", "method": "water-filling",
    "weight_bits": 4, "activation_bits": 4, "training_examples": 1024, "steps": 150,
}  # fmt: skip
SEEDS = [0, 1, 2]
CASES = (
    ("method", {"method": ["water-filling", "uniform", "gradient"]}, "what the method is worth"),
    ("weight scales", {"weight_scales": ["tensor"]}, "one scale a tensor instead of one an output channel"),
    (
        "weight scheme",
        {"weight_scheme": ["symmetric", "symmetric-narrow"]},
        "zero in the middle, not anywhere",
    ),
    (
        "activation scheme",
        {"activation_scheme": ["symmetric"]},
        "half of the levels after a ReLU are never used",
    ),
    ("first and last layer", {"first_last": ["8", "float"]}, "two layers of twenty, outside the mean"),
    ("placement", {"placement": ["gemm", "relu", "before-activation"]}, "what else stays in float"),
    ("activation budget", {"activation_budget": ["max"]}, "each map may fill the largest one's memory"),
    (
        "same, trained",
        {"activation_budget": ["max"], "method": ["gradient"]},
        "widths learned under that budget",
    ),
    ("widths", {"bit_choices": [[2, 4, 8]]}, "discrete instead of 2 to 8"),
    (
        "labels, trained",
        {"labels": ["generated", "distilled"], "method": ["gradient"]},
        "the float model's answers",
    ),
    (
        "training subset",
        {"training_examples": [64, 256, 4096]},
        "images to calibrate and to measure costs on",
    ),
    (
        "uniform, A8",
        {"method": ["uniform"], "weight_bits": [3, 4, 5, 6, 7, 8], "activation_bits": [8]},
        "the scale to read the other rows by",
    ),
    ("observer", {"observer": ["minmax", "percentile", "entropy", "aciq-laplace"]}, "ranges of activations"),
    ("activation ranges", {"activation_ranges": ["dynamic"]}, "the range of each image"),
    ("equalization", {"equalization": ["cross-layer", "activation-channels"]}, "inside the residual blocks"),
    ("bias correction", {"bias_correction": [False]}, "off"),
    ("variance correction", {"variance_correction": [True]}, "on"),
)


def combinations(case: dict) -> list[dict]:
    """Every combination of a case's values."""
    return [dict(zip(case, values, strict=True)) for values in itertools.product(*case.values())]


def top1_of(runs: list[dict], changed: dict) -> np.ndarray:
    """One a seed, of the runs that are BASE but for `changed`."""
    wanted = {**BASE, **changed}
    names = {name for _, case, _ in CASES for name in case}
    return np.array(
        [
            run["top1"]
            for run in runs
            if all(run.get(name) == wanted.get(name) for name in names) and "top1" in run
        ]
    )


def show() -> None:
    """Print the table."""
    runs = [json.loads(line) for line in (FOLDER / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    start = top1_of(runs, {}).mean()
    rows = []
    for name, case, meaning in CASES:
        for changed in combinations(case):
            top1 = top1_of(runs, changed)
            if not len(top1):
                continue
            value = ", ".join(str(each) for each in changed.values())
            deviation = f"{100 * top1.std(ddof=1):.2f}" if len(top1) > 1 else ""
            rows.append(
                [
                    name,
                    value,
                    f"{100 * top1.mean():.2f}",
                    deviation,
                    f"{100 * (top1.mean() - start):+.2f}",
                    meaning,
                ]
            )
    headers = ["choice", "value", "top-1", "deviation", "difference", ""]
    print(tabulate(rows, headers, disable_numparse=True, tablefmt="pipe"))
    print(f"float: {100 * runs[0]['float_top1']:.2f}")
    kept = [run for run in runs if run.get("method") != "uniform" and run.get("loses_to_uniform")]
    print(
        f"uniform at the same budget is what {len(kept)} of {len(runs)} runs kept though another method was asked for"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.show:
        configuration = {**BASE, "seed": SEEDS, "cases": [case for _, case, _ in CASES]}
        mpq_onnx.sweep(exported(FILES[0]), configuration, FOLDER, jobs=arguments.jobs)
    show()


if __name__ == "__main__":
    main()
