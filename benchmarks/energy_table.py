"""Energy per MAC of ResNet-20 on CIFAR-10 under noise at every multiply-accumulate: uniform against allocated.

First the energy at which top-1 is 2 points below the noise-free network's, found by bisection (mpq_onnx.search_energy), then
top-1 at five energies across two decades. Thermal and weight noise act on a W8A8 network, shot noise on the float one and on
W8A8. Train images only are used for sensitivities and training. Every figure is kept in output/, and a second call goes on.

    python benchmarks/energy_table.py                      # about two hours on two cores
    python benchmarks/energy_table.py --case shot/float    # one of the cases: several can run at once
    python benchmarks/energy_table.py --show               # the tables of what is there
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kept import Kept
from resnet20 import OUTPUT, TEST, TRAIN, exported
from tabulate import tabulate

import mpq_onnx

POINTS_LOST = 0.02
REPEATS = 3
METHODS = (
    ("uniform", "layer"),
    ("closed-form", "layer"),
    ("closed-form", "channel"),
    ("refined", "layer"),
    ("refined", "channel"),
)
COMPARED = tuple(method for method in METHODS if method[0] != "closed-form")
"""At equal energy."""
CASES = (("shot", "float"), ("thermal", "W8A8"), ("weight", "W8A8"), ("shot", "W8A8"))
WIDE = {"shot": (2.0, 200.0), "thermal": (1.0, 100.0), "weight": (1.0, 1000.0)}
"""Where the searches look, in each noise model's unit."""
TARGETS = {name: tuple(low * 10 ** (step / 2) for step in range(5)) for name, (low, _) in WIDE.items()}
TOLERANCE = 0.04
RESULTS = OUTPUT / "energy_table.jsonl"


@dataclass(frozen=True)
class Cell:
    """One figure of the tables."""

    noise: str
    base: str
    method: str
    granularity: str
    energy_per_mac: float | None
    """None: search for the energy that loses POINTS_LOST."""


def cells(cases: tuple[tuple[str, str], ...]) -> Iterator[Cell]:
    """The tables' figures, the most interesting first."""
    for case in cases:
        for method in METHODS:
            yield Cell(*case, *method, None)
    for case in cases:
        for energy in TARGETS[case[0]]:
            for method in COMPARED:
                yield Cell(*case, *method, energy)


def base_file(name: str) -> Path:
    """The noise-free network."""
    model = exported()
    if name == "float":
        return model
    folder = OUTPUT / "w8a8"
    if not (folder / "model.onnx").is_file():
        mpq_onnx.allocate(
            model,
            TRAIN,
            folder,
            weight_bits=8,
            activation_bits=8,
            options=mpq_onnx.AllocateOptions(
                method="uniform", rounding="nearest", weight_scheme="asymmetric"
            ),
            overwrite=True,
        )
    return folder / "model.onnx"


def noise_free_top1(name: str) -> float:
    return mpq_onnx.evaluate(base_file(name), TEST).evaluation.metrics["top1"].value


def measure(cell: Cell, kept: Kept) -> dict:
    """Search, or allocate and evaluate on the test images."""
    top1 = noise_free_top1(cell.base)
    options = mpq_onnx.EnergyOptions(
        (cell.noise,), method=cell.method, granularity=cell.granularity, repeats=REPEATS
    )
    place = OUTPUT / "energy" / "-".join([cell.noise, cell.base, cell.method, cell.granularity])
    if cell.energy_per_mac is None:
        result = mpq_onnx.search_energy(
            base_file(cell.base),
            TRAIN,
            TEST,
            place,
            goals=(mpq_onnx.Goal("top1", top1 - POINTS_LOST),),
            interval=mpq_onnx.Interval(*ends(cell, kept), TOLERANCE),
            options=options,
        )
        assert result.best is not None, f"{cell}: the goal is out of the interval"
        return {"noise_free_top1": top1, "energy": result.best.budget, "top1": result.best.metrics["top1"]}
    folder = place / f"{cell.energy_per_mac:.4g}"
    allocated = mpq_onnx.allocate_energy(
        base_file(cell.base),
        TRAIN,
        folder,
        energy_per_mac=cell.energy_per_mac,
        options=options,
        overwrite=True,
    )
    found = mpq_onnx.evaluate(allocated.model_path, TEST, repeats=REPEATS).evaluation
    assert found.noise is not None
    spread = found.noise["top1"]
    return {
        "noise_free_top1": top1,
        "energy": allocated.chosen.allocation.mean_energy_per_mac,
        "top1": spread.mean,
        "deviation": spread.deviation,
        "kept": allocated.chosen.name,
        "uniform_energy": allocated.uniform.allocation.mean_energy_per_mac,
    }


def ends(cell: Cell, kept: Kept) -> tuple[float, float]:
    """Where to search: below uniform for what is allocated, around the closed form for what refines it."""

    def found(method: str, granularity: str) -> float | None:
        line = kept.line(Cell(cell.noise, cell.base, method, granularity, None))
        return None if line is None else float(line["energy"])

    if cell.method == "uniform":
        return WIDE[cell.noise]
    around = found("closed-form", cell.granularity) if cell.method == "refined" else None
    if around is not None:
        return around * 0.7, around * 1.1
    below = found("uniform", "layer") or WIDE[cell.noise][1]
    return below / 15, below


def show(kept: Kept) -> None:
    """Print both tables."""
    headers = ["noise", "network", "noise-free top-1", *(" ".join(method) for method in METHODS)]
    rows = []
    for case in CASES:
        lines = [kept.line(Cell(*case, *method, None)) for method in METHODS]
        uniform = lines[0]
        if uniform is None:
            continue
        texts = [
            ""
            if line is None
            else f"{line['energy']:.3g} (-{100 * (1 - line['energy'] / uniform['energy']):.0f} %)"
            for line in lines
        ]
        texts[0] = f"{uniform['energy']:.3g}"
        rows.append([*case, f"{100 * uniform['noise_free_top1']:.2f}", *texts])
    print(f"energy per MAC at which top-1 is {100 * POINTS_LOST:g} points below the noise-free network")
    print(tabulate(rows, headers, disable_numparse=True))
    rows = []
    for case in CASES:
        for energy in TARGETS[case[0]]:
            lines = [kept.line(Cell(*case, *method, energy)) for method in COMPARED]
            if any(lines):
                texts = [
                    "" if line is None else f"{100 * line['top1']:.2f} ± {100 * line['deviation']:.2f}"
                    for line in lines
                ]
                rows.append([*case, f"{energy:.3g}", *texts])
    print(f"\ntop-1 in percent at equal energy per MAC, ± deviation between {REPEATS} repeats of the noise")
    print(
        tabulate(
            rows,
            [*headers[:2], "energy per MAC", *(" ".join(method) for method in COMPARED)],
            disable_numparse=True,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--case", choices=["/".join(case) for case in CASES], action="append")
    arguments = parser.parse_args()
    kept = Kept(RESULTS, Cell)
    cases = tuple(case for case in CASES if not arguments.case or "/".join(case) in arguments.case)
    if not arguments.show:
        kept.run(cells(cases), lambda cell: [measure(cell, kept)])
    show(kept)


if __name__ == "__main__":
    main()
