"""A DLRM trained on the census income data: area under the ROC curve by bits, and by energy under thermal noise.

The network is trained by examples/train_dlrm.py. Train rows only are used to calibrate, allocate and choose; test rows for
every figure.

    python benchmarks/adult_dlrm.py            # about ten minutes on two cores
    python benchmarks/adult_dlrm.py --show
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kept import Kept, measure_and_show
from shared_data import data_folder, require
from tabulate import tabulate

import mpq_onnx

DATA = data_folder("MPQ_ONNX_ADULT", "adult")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
OUTPUT = Path(__file__).resolve().parent / "output" / "adult"
COLUMNS = f"columns={OUTPUT / 'columns.json'}"
TRAIN, TEST = f"csv:{DATA / 'train.csv.gz'}?{COLUMNS}&count=8192", f"csv:{DATA / 'test.csv.gz'}?{COLUMNS}"
BUDGETS = (8.0, 4.0, 3.0)
ENERGIES = (0.5, 1.0, 2.0, 5.0, 20.0)
METHODS = (("uniform", "layer"), ("refined", "layer"), ("refined", "channel"))
REPEATS = 4
AREA_LOST = 0.005


@dataclass(frozen=True)
class Work:
    """One allocation: of bits, or of energy (None: search for the energy that loses AREA_LOST) under thermal noise on W8A8."""

    kind: str
    budget: float | None
    method: str
    granularity: str


def works() -> list[Work]:
    return [
        *(Work("bits", budget, *method) for budget in BUDGETS for method in METHODS),
        *(Work("thermal", energy, *method) for energy in (*ENERGIES, None) for method in METHODS),
    ]


def float_file() -> Path:
    path = OUTPUT / "float.onnx"
    if not path.is_file():
        require(DATA, "the census income data")
        subprocess.run([sys.executable, EXAMPLES / "train_dlrm.py", DATA, OUTPUT], check=True)
        mpq_onnx.export("dlrm", path, weights=str(OUTPUT / "dlrm.pt"))
    return path


def eight_bits() -> Path:
    folder = OUTPUT / "w8a8"
    if not (folder / "model.onnx").is_file():
        options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", weight_scheme="asymmetric")
        mpq_onnx.allocate(
            float_file(), TRAIN, folder, weight_bits=8, activation_bits=8, options=options, overwrite=True
        )
    return folder / "model.onnx"


def area(path: Path, repeats: int | None = None) -> float:
    return mpq_onnx.evaluate(path, TEST, repeats=repeats).evaluation.metrics["auroc"].value


def measure(work: Work) -> list[dict]:
    folder = OUTPUT / f"{work.kind}-{work.budget}-{work.method}-{work.granularity}"
    if work.kind == "bits":
        options = mpq_onnx.AllocateOptions(method=work.method, granularity=work.granularity)
        result = mpq_onnx.allocate(
            float_file(),
            TRAIN,
            folder,
            weight_bits=work.budget,
            activation_bits=8,
            options=options,
            overwrite=True,
        )
        spent = result.chosen.allocation.mean_weight_bits
        return [{"auroc": area(Path(result.model_path)), "spent": spent, "float": area(float_file())}]
    energy_options = mpq_onnx.EnergyOptions(
        ("thermal",), method=work.method, granularity=work.granularity, repeats=REPEATS
    )
    exact = area(eight_bits())
    if work.budget is None:
        found = mpq_onnx.search_energy(
            eight_bits(),
            TRAIN,
            TEST,
            folder,
            goals=(mpq_onnx.Goal("auroc", exact - AREA_LOST),),
            interval=mpq_onnx.Interval(0.01, 100, 0.03),
            options=energy_options,
        )
        assert found.best is not None
        return [{"auroc": found.best.metrics["auroc"], "spent": found.best.budget, "float": exact}]
    noisy = mpq_onnx.allocate_energy(
        eight_bits(), TRAIN, folder, energy_per_mac=work.budget, options=energy_options, overwrite=True
    )
    spent = noisy.chosen.allocation.mean_energy_per_mac
    return [{"auroc": area(Path(noisy.model_path), REPEATS), "spent": spent, "float": exact}]


def show(kept: Kept) -> None:
    """Print the tables."""
    for kind, unit in (("bits", "mean weight bits (A8)"), ("thermal", "energy per MAC")):
        rows = []
        for budget in dict.fromkeys(work.budget for work in works() if work.kind == kind):
            lines = [kept.line(Work(kind, budget, *method)) for method in METHODS]
            if not all(lines):
                continue
            if budget is None:
                name = f"energy at {100 * AREA_LOST:g} points' loss"
                texts = [
                    f"{line['spent']:.3g} (-{100 * (1 - line['spent'] / lines[0]['spent']):.0f} %)"
                    for line in lines
                ]
                texts[0] = f"{lines[0]['spent']:.3g}"
            else:
                name, texts = f"{budget:g}", [f"{100 * line['auroc']:.2f}" for line in lines]
            rows.append([name, f"{100 * lines[0]['float']:.2f}", *texts])
        headers = [unit, "float" if kind == "bits" else "W8A8", *(" by ".join(method) for method in METHODS)]
        print(
            f"\n{'area under the ROC curve, percent' if kind == 'bits' else 'the same under thermal noise on W8A8'}"
        )
        print(tabulate(rows, headers, disable_numparse=True, tablefmt="pipe"))


def main() -> None:
    kept = Kept(OUTPUT / "table.jsonl", Work)
    measure_and_show(__doc__, kept, works(), measure, show)


if __name__ == "__main__":
    main()
