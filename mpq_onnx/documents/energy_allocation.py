"""The energy allocation: an energy per MAC for every multiply-accumulate node of an analog accelerator.

On disk it is energy.json (documented in docs/energy_allocation.md).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen

from mpq_onnx.arithmetic.noise.units import attojoules, energy_unit
from mpq_onnx.documents.constraints import (
    Count,
    Distinct,
    OneOf,
    Part,
    Positive,
    PositiveCount,
    Positives,
    Seed,
)
from mpq_onnx.documents.document import FileKind
from mpq_onnx.documents.precision_document import Entry, Owned, PrecisionDocument
from mpq_onnx.documents.target_record import TargetRecord
from mpq_onnx.errors import AllocationError
from mpq_onnx.graph.metadata import METADATA_ENERGY
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.registries import COMPATS, ENERGY_LEVELS, EXACT, GRANULARITIES, NOISE_DRAWS, NOISE_MODELS


@dataclass(frozen=True)
class NodeEnergy(Entry):
    """The energy of one multiply-accumulate node."""

    FACTS = ("op_type", "macs", "fan_in")
    ADVICE = "only energies may be edited; where lengths are open, give --data with inputs as it was made for"
    BY_CHANNEL = ("energy_per_mac", "energies")
    LONE_FITS_ALL = True

    energy_per_mac: Positives
    """One energy, or one per output channel; each channel makes the same number of MACs."""
    macs: Count
    """Multiply-accumulates for one example."""
    fan_in: PositiveCount
    """D: products summed up in one output."""

    @property
    def mean_energy_per_mac(self) -> float:
        """Mean over the channels."""
        return float(np.mean(self.energy_per_mac))

    @property
    def energy(self) -> float:
        """Of one example."""
        return self.macs * self.mean_energy_per_mac


@dataclass(frozen=True)
class EnergySettings(Part):
    """Every choice beside the energies."""

    noise: Annotated[tuple[Annotated[str, OneOf(NOISE_MODELS)], ...], MinLen(1), Distinct()]
    """Names of noise models, which act together."""
    method: str
    granularity: Annotated[str, OneOf(GRANULARITIES)]
    energy_levels: Annotated[str, OneOf(ENERGY_LEVELS)]
    """any, or repeats: whole numbers, each MAC repeated and averaged."""
    compat: Annotated[str, OneOf(COMPATS)]
    """garg2021: fan-in of grouped convolutions not divided by the groups, for comparisons with that code."""
    seed: Seed
    target: TargetRecord | None = None
    """The device that it was made for."""
    noise_draws: Annotated[str, OneOf(NOISE_DRAWS)] = EXACT
    """Where the noisy file's normals come from; not written where it is exact, which is all that earlier versions know."""


@dataclass(frozen=True)
class EnergyAllocation(PrecisionDocument):
    """Energies for a whole model."""

    KIND = FileKind("energy allocation", "mpq-onnx/energy-allocation", 1, "docs/energy_allocation.md")
    METADATA = METADATA_ENERGY

    model: str
    """Fingerprint (SHA-256) of the noise-free model, float or QDQ, that it was made for."""
    settings: EnergySettings
    nodes: Annotated[tuple[NodeEnergy, ...], MinLen(1)]
    budget: Positive
    """The mean energy per MAC that was asked for; where limits were, the mean that they came to."""
    limits: Mapping[str, Positive] = field(default_factory=dict)
    """The most of resources, by their names."""

    @property
    def unit(self) -> str:
        """photons or relative."""
        return energy_unit(self.settings.noise)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one example."""
        return sum(node.macs for node in self.nodes)

    @property
    def total_energy(self) -> float:
        """Of one example, in `unit`s."""
        return math.fsum(node.energy for node in self.nodes)

    @property
    def mean_energy_per_mac(self) -> float:
        """sum(MACs * energy) / sum(MACs) (arXiv 2102.06365)."""
        return self.total_energy / self.macs

    @property
    def total_attojoules(self) -> float | None:
        """Of one example; None where the unit is relative."""
        return attojoules(self.total_energy, self.unit)

    def energies(self) -> dict[str, np.ndarray]:
        """float64 [1] or [channels] by node."""
        return {node.node: np.atleast_1d(np.array(node.energy_per_mac, np.float64)) for node in self.nodes}

    def fields(self) -> dict[str, Any]:
        """What the file holds; limits, a target and a way of drawing where there are some, as earlier versions know none."""
        found = super().fields()
        if not found["limits"]:
            del found["limits"]
        if found["settings"]["target"] is None:
            del found["settings"]["target"]
        if self.settings.noise_draws == EXACT:
            del found["settings"]["noise_draws"]
        return found

    def achieved(self) -> dict[str, Any]:
        """What the energies come to."""
        return {
            "mean_energy_per_mac": self.mean_energy_per_mac,
            "total_energy": self.total_energy,
            "total_attojoules": self.total_attojoules,
            "unit": self.unit,
            "macs": self.macs,
        }

    def _check_entries(self, sites: tuple[MacSite, ...]) -> None:
        super()._check_entries(sites)
        allowed = ENERGY_LEVELS[self.settings.energy_levels]
        for node in self.nodes:
            if not allowed.allows(np.atleast_1d(node.energy_per_mac)):
                raise AllocationError(
                    f"{node.title}: energy_per_mac {node.energy_per_mac} is none of energy_levels"
                    f" {self.settings.energy_levels}"
                )

    def entries_of(self, sites: tuple[MacSite, ...]) -> list[Owned]:
        """All of energy 1."""
        return [
            (NodeEnergy(site.node, site.op_type, 1.0, site.macs, site.fan_in), site.channels)
            for site in sites
        ]


def make_energy_allocation(
    model: str,
    settings: EnergySettings,
    sites: tuple[MacSite, ...],
    energies: Mapping[str, float | tuple[float, ...]],
    budget: float | None,
    limits: Mapping[str, float] | None = None,
) -> EnergyAllocation:
    """Join energies by node (one, or one per output channel) with the sites that they are for.

    Args:
        budget: mean energy per MAC that was asked for; None where limits were.
        limits: the most of resources.
    """
    nodes = tuple(
        NodeEnergy(site.node, site.op_type, energies[site.node], site.macs, site.fan_in) for site in sites
    )
    if budget is None:
        budget = math.fsum(node.energy for node in nodes) / sum(node.macs for node in nodes)
    return EnergyAllocation(model, settings, nodes, budget, limits or {})
