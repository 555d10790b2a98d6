"""What every energy allocator gets: the noise-free model's mirror, its multiply-accumulate nodes, the budget and the data."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpq_onnx.allocators.items import Items
from mpq_onnx.allocators.training_data import TrainingData
from mpq_onnx.allocators.training_settings import TrainingSettings
from mpq_onnx.errors import ModelError
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.noisy_mac import NoisyMirror, with_noise
from mpq_onnx.noise.energy_levels import EnergyLevels
from mpq_onnx.placement.mac_sites import MacSite

SMALLEST_SHARE = 0.01
"""No item gets less than this share of the mean: an estimate of zero sensitivity is never quite true."""


@dataclass(frozen=True)
class EnergyProblem:
    """One energy allocation problem."""

    mirror: Mirror
    """Of the noise-free model (float, or QDQ made trainable), on the device that computes."""
    sites: tuple[MacSite, ...]
    noises: tuple[str, ...]
    """Names in NOISE_MODELS."""
    energy_per_mac: float
    """The budget: mean over all MACs."""
    granularity: str
    """layer or channel."""
    levels: EnergyLevels
    training: TrainingSettings
    data: TrainingData
    costs: Callable[["EnergyProblem"], np.ndarray]
    """sensitivity.measure_costs, or what keeps its result: no budget changes it."""
    log: logging.Logger
    checkpoint: str | None = None

    @property
    def items(self) -> Items:
        """One item a node, or one an output channel; sizes are MACs of one example."""
        counts = [site.channels if self.granularity == "channel" else 1 for site in self.sites]
        sizes = [np.full(count, site.macs / count) for site, count in zip(self.sites, counts, strict=True)]
        return Items(tuple(site.node for site in self.sites), tuple(counts), np.concatenate(sizes))

    def fit(self, wanted: np.ndarray) -> np.ndarray:
        """Allowed energies [items] in the proportions of `wanted` that keep the budget; equal ones where it is 0 everywhere.

        Raises:
            ModelError: not finite numbers.
        """
        items = self.items
        if not np.isfinite(wanted).all():
            raise ModelError("the energies wanted are not finite: the model or its data hold NaN or infinity")
        wanted = wanted if wanted.max(initial=0.0) > 0 else np.ones(len(wanted))
        lifted = np.maximum(wanted, SMALLEST_SHARE * items.mean(wanted))
        # A hair below, so that sums in another order are not above it.
        total = self.energy_per_mac * items.sizes.sum() * (1 - 1e-12)
        return self.levels.fit(lifted, items.sizes, total)

    def noisy(self, energies: np.ndarray) -> NoisyMirror:
        """The mirror with noise at `energies` [items]."""
        return with_noise(self.mirror, self.sites, self.noises, self.items.split(energies), self.levels)


@dataclass(frozen=True)
class EnergyCandidate:
    """Energies that keep the budget."""

    name: str
    """How they were found."""
    energies: dict[str, np.ndarray]
    """float64 [1] or [channels] by node."""


def make_candidate(problem: EnergyProblem, name: str, energies: np.ndarray) -> EnergyCandidate:
    """Energies by item as energies by node."""
    return EnergyCandidate(name, problem.items.split(energies))
