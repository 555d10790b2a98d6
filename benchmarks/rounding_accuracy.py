"""Accuracy by rounding (adaptive, block) and budget: ResNet-20 on CIFAR-10 and EfficientNet-Lite0 on ImageNet images, widths of
the default method with uniform ones of the same rounding beside. Every figure is kept in output/rounding_accuracy.jsonl as it
comes, and a second call goes on from there; name networks, budgets (W3A8), roundings, or what has a width, to measure that part
alone.

    python benchmarks/rounding_accuracy.py [resnet20] [efficientnet_lite0] [W3A8] [adaptive] [block] [layer] [channel]
    python benchmarks/rounding_accuracy.py --show      # the table of what is there
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import resnet20
from kept import Kept
from shared_data import SHARED, data_folder, require
from tabulate import tabulate

import mpq_onnx

RESULTS = resnet20.OUTPUT / "rounding_accuracy.jsonl"
IMAGENET = data_folder("IMAGENET", "imagenet")
EFFICIENTNET = SHARED.parent / "models" / "efficientnet_lite0.onnx"
PREPROCESSING = "resize=256&interpolation=bicubic&crop=224&mean=0.49804&std=0.50196"
CLASSES = f"classes={IMAGENET / 'classes.txt'}"
BUDGETS = {
    "resnet20": ((2.0, 8.0), (1.5, 8.0), (3.0, 3.0)),
    "efficientnet_lite0": ((4.0, 4.0), (3.0, 8.0), (4.0, 8.0), (8.0, 8.0)),
}
MOST_LOST = {
    ("resnet20", 2.0, 8.0): 2.0, ("resnet20", 3.0, 3.0): 3.0, ("efficientnet_lite0", 8.0, 8.0): 0.3,
    ("efficientnet_lite0", 4.0, 8.0): 1.0, ("efficientnet_lite0", 3.0, 8.0): 4.0, ("efficientnet_lite0", 4.0, 4.0): 6.0,
}  # fmt: skip
"""Goals: points of top-1 below float."""
ROUNDINGS = ("adaptive", "block")
GRANULARITIES = ("layer", "channel")
"""What has a width of its own."""
BIT_CHOICES = (1, 2, 3, 4, 5, 6, 7, 8)
"""A mean of 1.5 bits needs widths below 2."""


@dataclass(frozen=True)
class Run:
    """One call of allocate."""

    network: str
    weight_bits: float
    activation_bits: float
    rounding: str
    granularity: str

    @property
    def budget(self) -> str:
        """As it is written."""
        return f"W{self.weight_bits:g}A{self.activation_bits:g}"


def runs(parts: set[str]) -> Iterator[Run]:
    """All, or those of the networks, budgets, roundings and granularities that are named."""
    networks, roundings, granularities = (
        [each for each in known if each in parts] or [*known] for known in (BUDGETS, ROUNDINGS, GRANULARITIES)
    )
    named = {part for part in parts if part.startswith("W")}
    for network in networks:
        for budget, rounding, granularity in itertools.product(BUDGETS[network], roundings, granularities):
            run = Run(network, *budget, rounding, granularity)
            if not named or run.budget in named:
                yield run


def data_of(network: str) -> tuple[Path, str, str]:
    """(canonical model, data to calibrate, data to test)."""
    if network == "resnet20":
        return resnet20.exported(), resnet20.TRAIN, resnet20.TEST
    require(IMAGENET, "ImageNet images")
    model = resnet20.OUTPUT / "efficientnet_lite0.onnx"
    if not model.is_file():
        mpq_onnx.export(str(EFFICIENTNET), model, preprocess=PREPROCESSING)
    train, test = (f"imagefolder:{IMAGENET / split}?{CLASSES}" for split in ("train", "val"))
    return model, train, test


def measure(run: Run) -> list[dict]:
    """Allocate, then evaluate every candidate on the test images."""
    model, train, test = data_of(run.network)
    folder = resnet20.OUTPUT / f"rounding_{run.network}"
    start = time.process_time()
    choices = BIT_CHOICES if run.weight_bits < 2 else mpq_onnx.AllocateOptions.bit_choices
    result = mpq_onnx.allocate(
        model,
        train,
        folder,
        weight_bits=run.weight_bits,
        activation_bits=run.activation_bits,
        keep_candidates=True,
        options=mpq_onnx.AllocateOptions(
            rounding=run.rounding, bit_choices=choices, granularity=run.granularity
        ),
        overwrite=True,
    )
    seconds = time.process_time() - start
    lines = []
    for candidate in result.candidates:
        found = mpq_onnx.evaluate(folder / "candidates" / f"{candidate.name}.onnx", test, baseline=model)
        comparison = found.evaluation.comparison
        assert comparison is not None and comparison.agreement is not None
        lines.append(
            {
                "candidate": candidate.name,
                "kept": candidate.name == result.chosen.name,
                "float_top1": comparison.metrics["top1"].value,
                "top1": found.evaluation.metrics["top1"].value,
                "agreement": comparison.agreement.value,
                "seconds": seconds,
            }
        )
    return lines


def show(kept: Kept) -> None:
    """One line a budget and rounding."""
    rows = []
    for run, lines in kept.by_work.items():
        uniform = next(line for line in lines if line["candidate"] == "uniform")
        chosen = next(line for line in lines if line["kept"])
        lost = 100 * (chosen["float_top1"] - chosen["top1"])
        goal = MOST_LOST.get((run.network, run.weight_bits, run.activation_bits))
        rows.append(
            [
                run.network,
                run.budget,
                run.rounding,
                run.granularity,
                *(f"{100 * each:.2f}" for each in (chosen["float_top1"], uniform["top1"], chosen["top1"])),
                f"{lost:.2f}" + ("" if goal is None else f" (goal {goal:g})"),
                f"{100 * chosen['agreement']:.2f}",
                chosen["candidate"],
                f"{chosen['seconds']:.0f}",
            ]
        )
    columns = [
        "network",
        "budget",
        "rounding",
        "widths by",
        "float",
        "uniform",
        "kept",
        "lost",
        "agreement",
        "is",
        "CPU s",
    ]
    print(tabulate(rows, columns, disable_numparse=True))
    print(
        "top-1 in percent on the test images; kept: what allocate writes, chosen on held-out training images"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("parts", nargs="*", metavar="PART")
    arguments = parser.parse_args()
    kept = Kept(RESULTS, Run)
    if not arguments.show:
        kept.run(runs(set(arguments.parts)), measure)
    show(kept)


if __name__ == "__main__":
    main()
