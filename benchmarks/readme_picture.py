"""The picture of the README: bits and photons by layer of ResNet-20, as two allocations of the closed form give them.

python benchmarks/readme_picture.py   (writes docs/images/resnet20.svg)
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure
from resnet20 import OUTPUT, TRAIN, exported

import mpq_onnx

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "resnet20.svg"
WEIGHT_BITS, ACTIVATION_BITS, PHOTONS = 3.0, 8.0, 10.0
TEAL, ORANGE = "#00897b", "#ef6c00"
"""Legible on white and on black."""


def main() -> None:
    """Allocate twice, and draw."""
    model, data = exported(), f"{TRAIN}?count=1024"
    widths = mpq_onnx.allocate(
        model,
        data,
        OUTPUT / "picture_bits",
        weight_bits=WEIGHT_BITS,
        activation_bits=ACTIVATION_BITS,
        options=mpq_onnx.AllocateOptions(effort="quick", method="water-filling"),
        overwrite=True,
    ).chosen.allocation
    energies = mpq_onnx.allocate_energy(
        model,
        data,
        OUTPUT / "picture_photons",
        energy_per_mac=PHOTONS,
        options=mpq_onnx.EnergyOptions(("shot",), effort="quick", method="closed-form"),
        overwrite=True,
    ).chosen.allocation
    bits = {node.node: float(np.mean(node.weight_bits)) for node in widths.nodes if node.owns_weight}
    photons = {node.node: float(np.mean(node.energy_per_mac)) for node in energies.nodes}
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw(left, bits, TEAL, WEIGHT_BITS, f"digital: {WEIGHT_BITS:g} bits a weight on average", "bits")
    draw(right, photons, ORANGE, PHOTONS, f"analog: {PHOTONS:g} photons a MAC on average", "photons a MAC")
    right.set_yscale("log")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, transparent=True, metadata={"Date": None})
    print(PICTURE)


def draw(axes, values: dict[str, float], colour: str, mean: float, title: str, unit: str) -> None:
    """A bar a layer, in graph order, and the mean (over weights or MACs, not over bars)."""
    axes.bar(range(len(values)), list(values.values()), color=colour)
    axes.axhline(mean, color="#888888", linewidth=1, linestyle="--")
    axes.set_title(title, color="#888888", fontsize=10)
    axes.set_ylabel(unit, color="#888888")
    axes.set_xlabel("layers of ResNet-20, input to output", color="#888888")
    axes.set_xticks([])
    axes.tick_params(colors="#888888")
    for spine in axes.spines.values():
        spine.set_color("#888888")


if __name__ == "__main__":
    main()
