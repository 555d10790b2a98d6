"""Which energies an accelerator can give a MAC: any, or whole repeats of one operation whose results are averaged.

A new kind of levels is one class and one line in registries.ENERGY_LEVELS. The methods take torch tensors; only operators and
methods of theirs are called.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_onnx.registries import LARGEST_ENERGY, SMALLEST_ENERGY

BISECTIONS = 100
LEAST_SHARE = 1e-6
"""Of the largest energy wanted: an item that wants none still takes what nobody else can use."""


@dataclass(frozen=True)
class EnergyLevels:
    """Any positive energy."""

    name: str = "any"
    smallest: float = 0.0

    def nearest(self, log_energy: Any) -> Any:
        """ln of the allowed energy nearest to exp(log_energy), gradients straight through (torch)."""
        return log_energy

    def allows(self, energies: np.ndarray) -> bool:
        """May all of them be had? Files hold them as float32."""
        return bool(((energies >= SMALLEST_ENERGY) & (energies <= LARGEST_ENERGY)).all())

    def fit(self, wanted: np.ndarray, sizes: np.ndarray, total: float) -> np.ndarray:
        """Allowed energies close to `wanted` with sum(sizes * energies) <= total (up to float rounding).

        Args:
            wanted: float64 [items]; where the training or a closed form wants to be, at any scale.
            sizes: float64 [items], MACs.
            total: the energy that may be spent, MACs times energy per MAC.
        """
        return wanted * (total / (wanted * sizes).sum())


@dataclass(frozen=True)
class Repeats(EnergyLevels):
    """E repeats of a unit operation, averaged: whole numbers from 1 up (arXiv 2102.06365)."""

    name: str = "repeats"
    smallest: float = 1.0

    def nearest(self, log_energy: Any) -> Any:
        rounded = log_energy.detach().exp().round().clamp(min=self.smallest).log()
        return log_energy + (rounded - log_energy.detach())

    def allows(self, energies: np.ndarray) -> bool:
        whole = (energies == np.rint(energies)).all() and (energies >= self.smallest).all()
        return bool(whole) and super().allows(energies)

    def fit(self, wanted: np.ndarray, sizes: np.ndarray, total: float) -> np.ndarray:
        """The whole numbers that minimise sum(costs / E), for the costs whose minimum over the reals `wanted` is.

        That minimum has costs / sizes proportional to E^2. A step up from E gains cost / E - cost / (E + 1), so
        (costs / sizes) / (E (E + 1)) for each unit of energy; steps are taken down to one price that spends the total.
        """
        costs = np.maximum(wanted / wanted.max(), LEAST_SHARE) ** 2  # for each unit of size
        energies = np.full(len(wanted), self.smallest)
        spare = total - (energies * sizes).sum()
        while (able := np.flatnonzero(sizes <= spare)).size:
            # What is left after a price for all goes to the items whose steps still fit, at a price of their own.
            before = energies[able]
            energies[able] = _priced(costs[able], sizes[able], before, spare)
            spare -= ((energies[able] - before) * sizes[able]).sum()
            for item in able[
                np.argsort(-costs[able] / (energies[able] * (energies[able] + 1)), kind="stable")
            ]:
                if sizes[item] <= spare:
                    energies[item] += 1
                    spare -= sizes[item]
        return energies


def _priced(costs: np.ndarray, sizes: np.ndarray, energies: np.ndarray, spare: float) -> np.ndarray:
    """The energies at the lowest price at which the steps above the present ones fit into `spare`."""
    low, high = 0.0, float(costs.max())
    for _ in range(BISECTIONS):
        price = (low + high) / 2
        candidate = np.maximum(_at_price(costs, price), energies)
        if ((candidate - energies) * sizes).sum() <= spare:
            high = price
        else:
            low = price
    return np.maximum(_at_price(costs, high), energies)


def _at_price(costs: np.ndarray, price: float) -> np.ndarray:
    """Largest whole E >= 1 whose last step still gains `price`: cost / (E (E - 1)) >= price."""
    if price <= 0:
        return np.full(len(costs), 1e9)
    return np.floor(0.5 + np.sqrt(0.25 + costs / price)).clip(min=1.0)


ANY, REPEATS = EnergyLevels(), Repeats()
