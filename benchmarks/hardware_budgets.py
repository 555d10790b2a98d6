"""Accuracy under what simulators charge: energy in memory and in photonics (AccelForge), latency in a systolic array.

Networks ResNet-20 (CIFAR-10) and EfficientNet-Lite0 (400 ImageNet images). A cost table is made by `mpq-onnx profile`; at five
budgets the file whose allocation knows the table stands beside uniform under the same limit and beside the best allocation of
mean bits that happens to keep it. The final files are simulated again by the tool. On the photonic device energies per MAC,
under shot noise, are allocated under the device's own costs. Train images only are used to calibrate, allocate and choose.

    mpq-onnx profile --install scalesim && mpq-onnx profile --install accelforge
    python benchmarks/hardware_budgets.py            # about three hours on two cores
    HARDWARE=resnet20/jia python benchmarks/hardware_budgets.py
    python benchmarks/hardware_budgets.py --show
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from kept import Kept, measure_and_show
from resnet20 import TEST, TRAIN, exported
from shared_data import SHARED, data_folder
from tabulate import tabulate

import mpq_onnx
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.targets.cost_table import load_cost_table

OUTPUT = Path(__file__).resolve().parent / "output" / "hardware"
IMAGENET = data_folder("IMAGENET", "imagenet")
LITE0 = SHARED.parent / "models" / "efficientnet_lite0.onnx"
LITE0_INPUTS = "resize=256&interpolation=bicubic&crop=224&mean=0.49804&std=0.50196"
SHARES = (0.1, 0.2, 0.35, 0.5, 0.7)
"""Of the way from the least that the choices can take to what the widest take."""
ANALOG_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Of the ratio between what the most photons take and what the fewest do; converters take most, whatever they are."""
REPEATS = 3
ALBIREO_PHOTONS = (3, 10, 30, 100, 300, 1000, 3000)
"""A multiply-accumulate; with the devices that Albireo's authors call aggressive, or its converters hide the lasers."""
MEANS = {
    "jia": tuple((float(w), float(a)) for w, a in ((2.5, 5), (3, 5), (3, 6), (4, 6), (4, 8), (5, 8), (6, 8))),
    "systolic": tuple(
        (float(w), float(a)) for w, a in ((2.5, 6), (3, 5), (3, 6), (4, 6), (4, 8), (5, 8), (6, 8))
    ),
}
"""Budgets of mean weight and activation bits, by hardware."""
ENERGIES = {
    "resnet20": (("uniform", "layer"), ("refined", "layer"), ("refined", "channel")),
    "lite0": (("uniform", "layer"), ("closed-form", "layer"), ("closed-form", "channel")),
}
"""Methods by network: training is what costs most of EfficientNet-Lite0's time."""


@dataclass(frozen=True)
class Hardware:
    """What is simulated, and what of it is bounded."""

    name: str
    simulator: str
    column: str
    profile: mpq_onnx.ProfileOptions
    weight_bits: float | None = None
    """A mean beside the limit, where the limit does not depend on weights."""
    bit_choices: tuple[float, ...] = (2, 3, 4, 5, 6, 7, 8)
    activation_bit_choices: tuple[float, ...] = (2, 3, 4, 5, 6, 7, 8)

    @property
    def is_analog(self) -> bool:
        """Energies are allocated, not bits."""
        return self.profile.energies is not None


HARDWARES = {
    "jia": Hardware(
        "jia", "accelforge", "energy_uj",
        mpq_onnx.ProfileOptions(architecture="jia", weight_bits=(2, 4, 6, 8), activation_bits=(4, 6, 8)),
        bit_choices=(2, 4, 6, 8), activation_bit_choices=(4, 6, 8),
    ),
    "systolic": Hardware(
        "systolic", "scalesim", "latency_ms",
        mpq_onnx.ProfileOptions(weight_bits=(2, 4, 8), activation_bits=(4, 8)),
        bit_choices=(2, 4, 8), activation_bit_choices=(4, 8),
    ),
    "albireo": Hardware(
        "albireo", "accelforge", "energy_uj",
        mpq_onnx.ProfileOptions(architecture="albireo", energies=ALBIREO_PHOTONS, variable=("scaling=aggressive",)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One file: under a share of what can be spent (method cost-aware, or one of ENERGIES), or with means of bits."""

    network: str
    hardware: str
    method: str
    granularity: str
    share: float | None = None
    weight_bits: float | None = None
    activation_bits: float | None = None


def works() -> Iterator[Work]:
    only = os.environ.get("HARDWARE", "").split(",")
    for network in ("resnet20", "lite0"):
        for hardware in HARDWARES.values():
            if only != [""] and f"{network}/{hardware.name}" not in only:
                continue
            methods = ENERGIES[network] if hardware.is_analog else (("cost-aware", "layer"),)
            shares = ANALOG_SHARES if hardware.is_analog else SHARES
            yield from (Work(network, hardware.name, *each, share) for share in shares for each in methods)
            for means in MEANS.get(hardware.name, ()):
                yield Work(network, hardware.name, "mean bits", "layer", None, *means)


def float_file(network: str) -> Path:
    path = OUTPUT / f"{network}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        if network == "resnet20":
            path.write_bytes(exported().read_bytes())
        else:
            mpq_onnx.export(str(LITE0), path, preprocess=LITE0_INPUTS)
    return path


def data(network: str, split: str) -> str:
    if network == "resnet20":
        return {"train": TRAIN, "val": TEST}[split]
    return f"imagefolder:{IMAGENET / split}?classes={IMAGENET / 'classes.txt'}"


def table(network: str, hardware: Hardware) -> Path:
    """The cost table; simulated when it is not there yet."""
    path = OUTPUT / f"{network}-{hardware.name}.csv"
    if not path.is_file():
        mpq_onnx.profile(float_file(network), path, simulator=hardware.simulator, options=hardware.profile)
    return path


@cache
def shared(network: str) -> SharedWork:
    return SharedWork()


def top1(network: str, path: str, repeats: int | None = None) -> float:
    found = mpq_onnx.evaluate(path, data(network, "val"), repeats=repeats).evaluation
    return found.metrics["top1"].value


def measure(work: Work) -> list[dict]:
    hardware = HARDWARES[work.hardware]
    return measure_energies(work, hardware) if hardware.is_analog else measure_widths(work, hardware)


def measure_widths(work: Work, hardware: Hardware) -> list[dict]:
    network, model = work.network, float_file(work.network)
    costs = table(network, hardware)
    folder = OUTPUT / "-".join(
        map(str, (network, hardware.name, work.method, work.share or work.weight_bits, work.activation_bits))
    )
    options = mpq_onnx.AllocateOptions(
        method="water-filling", rounding="nearest", costs=str(costs), bit_choices=hardware.bit_choices,
        activation_bit_choices=hardware.activation_bit_choices,
    )  # fmt: skip
    weight_bits, activation_bits = work.weight_bits, work.activation_bits
    if work.share is not None:
        weight_bits = hardware.weight_bits
        ends = mpq_onnx.resource_interval(
            model, data(network, "train"), hardware.column, options, weight_bits=weight_bits
        )
        budget = ends.low + work.share * (ends.high - ends.low)
        options = replace(options, max=(f"{hardware.column}={budget}",))
    result = mpq_onnx.allocate(
        model, data(network, "train"), folder, weight_bits=weight_bits, activation_bits=activation_bits,
        options=options, keep_candidates=True, shared=shared(network), overwrite=True,
    )  # fmt: skip
    kept = {candidate.name: candidate for candidate in result.candidates}
    line = {
        "promised": kept["water-filling"].resources[hardware.column],
        "top1": top1(network, str(folder / "candidates" / "water-filling.onnx")),
        "float": top1(network, str(model)),
    }
    if work.share is not None:
        line |= {
            "budget": budget,
            "uniform": top1(network, str(folder / "candidates" / "uniform.onnx")),
            "uniform_spent": kept["uniform"].resources[hardware.column],
            "simulated": simulated(folder / "candidates" / "water-filling.onnx", hardware),
        }
    return [line]


def simulated(path: Path, hardware: Hardware) -> float:
    """What the tool says of a finished file, simulated anew."""
    profile = mpq_onnx.ProfileOptions(architecture=hardware.profile.architecture)
    written = path.with_suffix(".csv")
    mpq_onnx.profile(path, written, simulator=hardware.simulator, options=profile)
    return sum(row.amounts[hardware.column] for row in load_cost_table(written).rows)


def measure_energies(work: Work, hardware: Hardware) -> list[dict]:
    """Energies per MAC under shot noise on the float network; the limit is the whole device's energy."""
    network, model = work.network, float_file(work.network)
    costs = load_cost_table(table(network, hardware))
    energies = hardware.profile.energies or ()
    low, high = (
        sum(row.amounts[hardware.column] for row in costs.rows if row.energy_per_mac == end)
        for end in (min(energies), max(energies))
    )
    budget = low * (high / low) ** work.share if work.share else low
    folder = OUTPUT / "-".join((network, hardware.name, work.method, work.granularity, str(work.share)))
    options = mpq_onnx.EnergyOptions(
        ("shot",), method=work.method, granularity=work.granularity, costs=str(table(network, hardware)),
        max=(f"{hardware.column}={budget}",), repeats=2,
    )  # fmt: skip
    result = mpq_onnx.allocate_energy(
        model, data(network, "train"), folder, options=options, shared=shared(network), overwrite=True
    )
    return [
        {
            "budget": budget,
            "spent": result.chosen.resources[hardware.column],
            "photons": result.chosen.allocation.mean_energy_per_mac,
            "top1": top1(network, result.model_path, REPEATS),
            "float": top1(network, str(model)),
        }
    ]


def show(kept: Kept) -> None:
    for network in ("resnet20", "lite0"):
        for hardware in HARDWARES.values():
            own = [work for work in kept.by_work if (work.network, work.hardware) == (network, hardware.name)]
            if own:
                print(f"\n{network}, {hardware.name}: top-1, percent, at budgets of {hardware.column}")
                (show_energies if hardware.is_analog else show_widths)(kept, own)


def show_widths(kept: Kept, own: list[Work]) -> None:
    lines = {work: kept.line(work) for work in own}
    means = [line for work, line in lines.items() if work.share is None]
    rows = []
    for work, line in lines.items():
        if work.share is None:
            continue
        fitting = [each for each in means if each["promised"] <= line["budget"] * (1 + 1e-9)]
        best = max(fitting, key=lambda each: each["top1"], default=None)
        rows.append(
            [
                f"{line['budget']:.4g}", f"{100 * line['float']:.2f}", f"{100 * line['uniform']:.2f}",
                "none fits" if best is None else f"{100 * best['top1']:.2f}", f"{100 * line['top1']:.2f}",
                f"{line['promised']:.4g}", f"{line['simulated']:.4g}",
            ]
        )  # fmt: skip
    headers = ["budget", "float", "uniform", "mean bits", "cost-aware", "promised", "simulated"]
    print(tabulate(rows, headers, disable_numparse=True))


def show_energies(kept: Kept, own: list[Work]) -> None:
    rows = []
    for share in ANALOG_SHARES:
        methods = ENERGIES[own[0].network]
        lines = [kept.line(Work(own[0].network, own[0].hardware, *method, share)) for method in methods]
        found = [line for line in lines if line is not None]
        if found:
            texts = [
                "" if line is None else f"{100 * line['top1']:.2f} ({line['photons']:.3g})" for line in lines
            ]
            rows.append([f"{found[0]['budget']:.4g}", f"{100 * found[0]['float']:.2f}", *texts])
    headers = [
        "budget",
        "float",
        *(" by ".join(method) + " (photons)" for method in ENERGIES[own[0].network]),
    ]
    print(tabulate(rows, headers, disable_numparse=True))


if __name__ == "__main__":
    measure_and_show(__doc__, Kept(OUTPUT / "results.jsonl", Work), works(), measure, show)
