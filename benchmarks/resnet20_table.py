"""Accuracy of ResNet-20 on the CIFAR-10 test images by budget, method, granularity and rounding; train images only are used to
calibrate, train and choose. Every measured line is kept in output/resnet20_table.jsonl, and a second call goes on from there.

    python benchmarks/resnet20_table.py            # about an hour on two cores
    python benchmarks/resnet20_table.py --show     # the table of what is there
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kept import Kept, measure_and_show
from resnet20 import FILES, OUTPUT, TEST, TRAIN, exported
from tabulate import tabulate

import mpq_onnx

BUDGETS = ((8.0, 8.0), (4.0, 8.0), (3.0, 8.0), (2.5, 8.0), (4.0, 4.0))
RESULTS = OUTPUT / "resnet20_table.jsonl"


@dataclass(frozen=True)
class Run:
    """One call of allocate."""

    file: str
    weight_bits: float
    activation_bits: float
    granularity: str
    rounding: str
    method: str


def runs() -> Iterator[Run]:
    """The table's runs, the most interesting first."""
    for granularity in ("layer", "channel"):
        for budget in BUDGETS:
            yield Run(FILES[0], *budget, granularity, "adaptive", "refined")
    for budget in BUDGETS:
        yield Run(FILES[0], *budget, "layer", "nearest", "refined")
    for budget in BUDGETS:
        yield Run(FILES[1], *budget, "layer", "adaptive", "refined")
    for granularity in ("layer", "channel"):
        for budget in BUDGETS[1:]:  # at 8 bits there is nothing to learn
            yield Run(FILES[0], *budget, granularity, "adaptive", "gradient")


def measure(run: Run) -> list[dict]:
    """Allocate, then evaluate every candidate on the test images."""
    model = exported(run.file)
    calibration = OUTPUT / f"{run.file}.calibration.json"
    if not calibration.is_file():
        # allocate holds out the first quarter of the 4096 images in drawn order; calibrate on the same other three.
        mpq_onnx.calibrate(model, f"{TRAIN}?shuffle=0&start=1024", calibration)
    folder = OUTPUT / "table"
    result = mpq_onnx.allocate(
        model,
        TRAIN,
        folder,
        weight_bits=run.weight_bits,
        activation_bits=run.activation_bits,
        calibration=calibration,
        keep_candidates=True,
        options=mpq_onnx.AllocateOptions(
            method=run.method, granularity=run.granularity, rounding=run.rounding
        ),
        overwrite=True,
    )
    lines = []
    for candidate in result.candidates:
        found = mpq_onnx.evaluate(folder / "candidates" / f"{candidate.name}.onnx", TEST, baseline=model)
        comparison = found.evaluation.comparison
        assert (
            comparison is not None
            and comparison.top1_difference is not None
            and comparison.agreement is not None
        )
        lines.append(
            {
                "candidate": candidate.name,
                "kept": candidate.name == result.chosen.name,
                "mean_weight_bits": candidate.allocation.mean_weight_bits,
                "mean_activation_bits": candidate.allocation.mean_activation_bits,
                "validation_distance": candidate.distance,
                "float_top1": comparison.metrics["top1"].value,
                "top1": found.evaluation.metrics["top1"].value,
                "difference": comparison.top1_difference.value,
                "margin": (comparison.top1_difference.high - comparison.top1_difference.low) / 2,
                "agreement": comparison.agreement.value,
                "sqnr": comparison.output_sqnr,
            }
        )
    return lines


def show(kept: Kept) -> None:
    """Print the table: one line a budget, granularity, rounding and file; * marks what the default keeps."""
    cells: dict[tuple, dict[str, str]] = {}
    for line in kept.lines:
        assert line["mean_weight_bits"] <= line["weight_bits"]
        assert line["mean_activation_bits"] <= line["activation_bits"]
        key = (
            f"W{line['weight_bits']:g} A{line['activation_bits']:g}",
            line["granularity"],
            line["rounding"],
            line["file"],
        )
        mark = "*" if line["method"] == "refined" and line["kept"] else ""
        cells.setdefault(key, {"float": f"{100 * line['float_top1']:.2f}"})
        if line["method"] == "refined":
            cells[key][line["candidate"]] = f"{100 * line['top1']:.2f}{mark}"
            levels = 2 ** line["mean_weight_bits"]
            if line["candidate"] == "uniform" and levels != 2 ** round(line["mean_weight_bits"]):
                cells[key]["uniform"] += f" ({levels:.0f} levels)"
        elif line["candidate"] == line["method"]:
            cells[key][line["method"]] = f"{100 * line['top1']:.2f}"
    columns = ("float", "uniform", "uniform-whole", "water-filling", "gradient", "refined")
    rows = [[*key, *(row.get(column, "") for column in columns)] for key, row in cells.items()]
    print(tabulate(rows, ["budget", "widths by", "rounding", "file", *columns], disable_numparse=True))
    print(
        "top-1 in percent on the test images; * is what the default method keeps, chosen on held-out train images;"
        " uniform has the most levels that the budget allows, uniform-whole the whole width below where that is fractional"
    )


def main() -> None:
    kept = Kept(RESULTS, Run)
    measure_and_show(__doc__, kept, runs(), measure, show)


if __name__ == "__main__":
    main()
